"""Tests of headrace_api.tasks."""

"""Tests of headrace_api.document."""

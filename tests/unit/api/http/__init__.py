"""Tests of headrace_api.http."""

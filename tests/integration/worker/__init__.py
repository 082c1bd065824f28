"""Tests of headrace_worker on a real Redis."""

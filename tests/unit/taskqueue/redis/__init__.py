"""Tests of headrace.taskqueue without Redis."""

"""Tests of headrace.taskqueue against real Redis servers."""

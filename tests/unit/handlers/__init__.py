"""Tests of headrace.handlers."""

"""Tests of headrace_worker without Redis: what is pure, and the loop against a queue in memory."""

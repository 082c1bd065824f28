"""Runs a workflow: the interpreter, its clock, what it needs, what is saved of a run."""

from __future__ import annotations

from headrace.workflows.running.environment import Children, Environment, Runtime
from headrace.workflows.running.interpreter import execute
from headrace.workflows.running.old_state import is_read_by_0_2_0
from headrace.workflows.running.run import RunCompleted, RunParked

__all__ = [
    "Children",
    "Environment",
    "RunCompleted",
    "RunParked",
    "Runtime",
    "execute",
    "is_read_by_0_2_0",
]

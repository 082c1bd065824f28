"""Runs a workflow: the interpreter, its clock, what it needs, what is saved of a run."""

from __future__ import annotations

from headrace.workflows.running.environment import Environment, Runtime
from headrace.workflows.running.interpreter import RunCompleted, RunParked, execute

__all__ = ["Environment", "RunCompleted", "RunParked", "Runtime", "execute"]

"""Runs a workflow: the interpreter, its clock, what it needs, what is saved of a run."""

from __future__ import annotations

from headrace.workflows.running.environment import Environment, Runtime
from headrace.workflows.running.interpreter import Completed, Parked, execute

__all__ = ["Completed", "Environment", "Parked", "Runtime", "execute"]

"""What steps that make HTTP calls share. The client itself is loaded at the first call."""

from __future__ import annotations

from headrace.workflows.steps.http.policy import HttpPolicy

__all__ = ["HttpPolicy"]

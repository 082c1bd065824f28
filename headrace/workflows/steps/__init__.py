"""The types of step that are supported, by their keyword. Another one is another line here.

What the language has besides is refused when a definition is loaded.
"""

from __future__ import annotations

from headrace.workflows.reading import StepType
from headrace.workflows.steps.call import read_call
from headrace.workflows.steps.do import read_do
from headrace.workflows.steps.for_ import read_for
from headrace.workflows.steps.fork import read_fork
from headrace.workflows.steps.raise_ import read_raise
from headrace.workflows.steps.run import read_run
from headrace.workflows.steps.set import read_set
from headrace.workflows.steps.switch import read_switch
from headrace.workflows.steps.try_ import read_try
from headrace.workflows.steps.wait import read_wait

STEP_TYPES: dict[str, StepType] = {
    "call": StepType(frozenset({"call", "with"}), read_call),
    "do": StepType(frozenset({"do"}), read_do),
    "for": StepType(frozenset({"for", "while", "do"}), read_for),
    "fork": StepType(frozenset({"fork"}), read_fork),
    "raise": StepType(frozenset({"raise"}), read_raise),
    "run": StepType(frozenset({"run"}), read_run),
    "set": StepType(frozenset({"set"}), read_set),
    "switch": StepType(frozenset({"switch"}), read_switch),
    "try": StepType(frozenset({"try", "catch"}), read_try),
    "wait": StepType(frozenset({"wait"}), read_wait),
}

__all__ = ["STEP_TYPES"]

"""The task types that are supported, by the key that tells them. Another one is another line here.

What the language has besides is refused when a definition is loaded.
"""

from __future__ import annotations

from headrace.workflows.steps.base import TaskType
from headrace.workflows.steps.call import read_call
from headrace.workflows.steps.do import read_do
from headrace.workflows.steps.set import read_set
from headrace.workflows.steps.wait import read_wait

TASK_TYPES: dict[str, TaskType] = {
    "call": TaskType(frozenset({"call", "with"}), read_call),
    "do": TaskType(frozenset({"do"}), read_do),
    "set": TaskType(frozenset({"set"}), read_set),
    "wait": TaskType(frozenset({"wait"}), read_wait),
}

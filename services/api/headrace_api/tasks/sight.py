"""Which results whoever asks may see: those of its own tasks, or all of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from headrace_api.http.options import KEY_HEADER
from headrace_api.tasks.redaction import redacted

if TYPE_CHECKING:
    from headrace.taskqueue import Task


@dataclass(frozen=True)
class Sight:
    """What a request's key may see of tasks."""

    manager: bool
    """It may manage tasks, or no key is needed."""
    hides: bool
    """Payloads, states, variables and others' results are for managers alone (HIDE_PAYLOADS)."""
    key_name: str
    """As the header `headrace-key` of its own tasks has it; empty: they cannot be recognised."""

    @property
    def payloads_are_hidden(self) -> bool:
        """Whether it sees no payloads, states and variables."""
        return self.hides and not self.manager

    def of_result(self, task: Task) -> dict[str, Any]:
        """The fields that its record has instead of the result; none: it is shown as it is."""
        if task.result is None or self.manager:
            return {}
        if self.key_name and task.headers.get(KEY_HEADER) == self.key_name:
            return {}
        if self.hides:
            return {"result": None, "hidden": ("result",)}
        return {"result": redacted(msgspec.json.decode(task.result))}

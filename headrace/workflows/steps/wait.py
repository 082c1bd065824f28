"""`wait`: lets time pass; its output is its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.workflows.reading.durations import Duration, read_duration
from headrace.workflows.reading.reader import Cursor
from headrace.workflows.steps.base import Reading

if TYPE_CHECKING:
    from headrace.workflows.running.interpreter import Run, TaskScope


@dataclass(frozen=True, slots=True)
class WaitAction:
    """How long to wait."""

    duration: Duration

    async def perform(self, run: Run, scope: TaskScope) -> Any:
        """The task's input, later."""
        await run.pause(self.duration, scope)
        return scope.input


def read_wait(fields: dict[str, Cursor], _reading: Reading) -> WaitAction:
    """The duration under `wait`."""
    return WaitAction(read_duration(fields["wait"]))

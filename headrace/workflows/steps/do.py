"""`do`: a list of tasks, one after the other, as one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.workflows.reading.reader import Cursor
from headrace.workflows.steps.base import Reading, Task

if TYPE_CHECKING:
    from headrace.workflows.running.interpreter import Run, TaskScope


@dataclass(frozen=True, slots=True)
class DoAction:
    """The tasks to perform."""

    tasks: tuple[Task, ...]

    async def perform(self, run: Run, scope: TaskScope) -> Any:
        """The last task's output."""
        return await run.sequence(self.tasks, scope.input, scope.deadline)


def read_do(fields: dict[str, Cursor], reading: Reading) -> DoAction:
    """The list under `do`."""
    return DoAction(reading.tasks(fields["do"]))

"""`set`: the task's output is the data that it holds, its expressions evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.workflows.expressions.templates import TASK_BODY, Template, read_template
from headrace.workflows.reading.reader import Cursor
from headrace.workflows.steps.base import Reading

if TYPE_CHECKING:
    from headrace.workflows.running.interpreter import Run, TaskScope


@dataclass(frozen=True, slots=True)
class SetAction:
    """The data to set."""

    data: Template

    async def perform(self, run: Run, scope: TaskScope) -> Any:
        """The data on the task's input."""
        return await run.evaluate(self.data, scope.input, scope)


def read_set(fields: dict[str, Cursor], _reading: Reading) -> SetAction:
    """A mapping, or one expression."""
    cursor = fields["set"]
    if isinstance(cursor.value, str):
        if "${" not in cursor.text():
            cursor.refuse("`set` must be a mapping, or an expression such as ${ .order }")
    elif not cursor.fields():
        cursor.refuse("`set` sets nothing")
    return SetAction(read_template(cursor, TASK_BODY))

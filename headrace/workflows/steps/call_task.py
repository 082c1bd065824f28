"""`call` of a task type: a task of its own, with its result for the output."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.limits import TASK_TYPE_NAME, TASK_TYPE_NAME_RULE
from headrace.workflows.errors import fail
from headrace.workflows.model import ChildTask, Done, Flow, Scope, Template
from headrace.workflows.reading import STEP_BODY, Cursor, read_template


@dataclass(frozen=True, slots=True)
class TaskCallAction:
    """A task type and its payload. Without one the task's input is the payload."""

    task_type: str
    payload: Template | None

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """What the task's handler returned."""
        payload = scope.input
        if self.payload is not None:
            payload = await flow.evaluate(self.payload, scope.input, scope)
        end = await flow.child(ChildTask(self.task_type, payload), scope)
        if end.status != "completed":
            why = "was cancelled" if end.status == "cancelled" else f"failed: {end.error}"
            fail("runtime", f"the task of type {self.task_type!r} {why}")
        return Done(end.result)


def read_task_call(fields: dict[str, Cursor]) -> TaskCallAction:
    """The payload under `with`. Whether a worker has the type is seen when a run comes there."""
    task_type = fields["call"].text()
    if re.fullmatch(TASK_TYPE_NAME, task_type) is None:
        fields["call"].refuse(
            f"{task_type!r} is not a name for a task type: {TASK_TYPE_NAME_RULE}, as in "
            "'resize_image'"
        )
    if "with" not in fields:
        return TaskCallAction(task_type, None)
    fields["with"].fields()
    return TaskCallAction(task_type, read_template(fields["with"], STEP_BODY))

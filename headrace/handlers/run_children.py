"""The tasks that a workflow run starts: the children of its own task."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.handlers.context import Context, FurtherTask
from headrace.handlers.errors import PayloadInvalid, SubmitFailed
from headrace.handlers.results import encode_result
from headrace.workflows import ChildEnd, ChildRun, ChildTask, WorkflowError


class RunChildren:
    """Starts children of a run's task, and reads how they ended (`Environment.children`).

    Args:
        ctx: of the run's task.
        task_of: the task type and payload of a workflow's run. Raises WorkflowError.
    """

    def __init__(
        self, ctx: Context, task_of: Callable[[ChildRun], Awaitable[tuple[str, Any]]]
    ) -> None:
        self._ctx = ctx
        self._task_of = task_of
        self._started: set[str] = set()
        self._may_have_begun = ctx.attempt > 1 or ctx.state is not None or bool(ctx.journal)
        """An earlier attempt may have started children."""

    async def start(self, child_id: str, task: ChildTask | ChildRun) -> ChildEnd | None:
        """Start a child, unless it has been started; its end, if it has ended.

        Raises WorkflowError when it cannot be started, or nobody knows any more how it ended.
        """
        ctx, task_id = self._ctx, self._id(child_id)
        end = None
        try:
            if not self._may_have_begun and task_id not in self._started:
                raise LookupError
            end = await ctx.child(task_id)
        except LookupError as error:
            if task_id in self._started:
                raise WorkflowError.standard("runtime", str(error)) from error
            await self._submit(task_id, task)
            self._started.add(task_id)
            if not ctx.can_park:
                end = await ctx.child(task_id)  # it ran in place
        if not task.awaited:
            return ChildEnd("started")
        if end is None:
            return None
        return ChildEnd(end.status, _decoded(end.result), end.error, _decoded(end.problem))

    async def cancel(self, child_id: str) -> None:
        """Cancel a child, if it was started and has not ended."""
        try:
            await self._ctx.cancel_child(self._id(child_id))
        except LookupError:
            return

    async def _submit(self, task_id: str, task: ChildTask | ChildRun) -> None:
        if isinstance(task, ChildRun):
            task_type, payload = await self._task_of(task)
        else:
            task_type, payload = task.task_type, task.payload
        try:
            await self._ctx.pass_on(
                FurtherTask(
                    id=task_id,
                    type=task_type,
                    payload=encode_result(payload),
                    max_retries=None,
                    start_at=None,
                    headers=dict(self._ctx.headers),
                    child=True,
                )
            )
        except PayloadInvalid as error:
            raise WorkflowError.standard("validation", str(error)) from error
        except SubmitFailed as error:
            raise WorkflowError.standard("runtime", str(error)) from error

    def _id(self, child_id: str) -> str:
        """A run that was retried by hand starts its children again."""
        generation = self._ctx.generation
        return str(uuid.uuid5(uuid.UUID(child_id), str(generation))) if generation else child_id


def _decoded(document: bytes | None) -> Any:
    return None if document is None else json.loads(document)

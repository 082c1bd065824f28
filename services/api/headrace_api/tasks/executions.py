"""Executes workflows: makes their tasks, pinned to the definitions as they are now."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.contract.problems import INVALID_PAYLOAD, QUEUE_UNAVAILABLE
from headrace.handlers.builtin import WORKFLOW_EXECUTE
from headrace.logs import get_logger
from headrace.taskqueue import (
    IdempotencyConflict,
    NewTask,
    QueueError,
    QueueUnavailable,
    Submitted,
)
from headrace.workflows import EvaluationFailed, mismatches
from headrace_api.http.problems import RETRY_AFTER_SECONDS, Problem
from headrace_api.tasks.submission import Admission, InlineRun, same_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.taskqueue import TaskQueue
    from headrace.workflows import Runtime, Schema, Workflow
    from headrace_api.tasks.availability import Availability
    from headrace_api.tasks.definitions import Definitions
    from headrace_api.tasks.submission import Submission

log = get_logger(__name__)

TASK_TYPE = WORKFLOW_EXECUTE


class Executions:
    """Submits workflows, and keeps their definitions' texts in Redis.

    `queue`: None is off. `runtime` checks variables against schemas.
    """

    def __init__(
        self,
        queue: TaskQueue | None,
        availability: Availability,
        definitions: Definitions,
        submission: Submission,
        runtime: Runtime,
    ) -> None:
        self._runtime = runtime
        self._queue = queue
        self._availability = availability
        self._definitions = definitions
        self._submission = submission

    async def payload_of(
        self, workflow_id: str, workflow: Workflow, variables: dict[str, Any], pointer: str
    ) -> bytes:
        """The payload of a task that executes a workflow, under the name that it was asked for.

        Raises the 422 problem unless the variables, which stand at `pointer`, fit its schema.
        """
        if workflow.input_schema is not None:
            await self._check(workflow.input_schema, variables, workflow_id, pointer)
        return msgspec.json.encode(
            {
                "workflow_id": workflow_id,
                "variables": variables,
                "definition": workflow.definition_sha256,
            }
        )

    async def _check(
        self, schema: Schema, variables: dict[str, Any], workflow_id: str, pointer: str
    ) -> None:
        try:
            found = [
                (item.reason, pointer + item.pointer)
                for item in await mismatches(schema, variables, self._runtime.evaluator)
            ]
        except EvaluationFailed as error:
            found = [(f"`input.schema` cannot be applied to them: {error}", pointer)]
        if found:
            raise Problem(
                INVALID_PAYLOAD,
                f"the variables do not fit the `input.schema` of the workflow {workflow_id!r}: "
                + "; ".join(reason for reason, _ in found),
                errors=[{"detail": reason, "pointer": place} for reason, place in found],
            )

    async def enqueue(self, workflow: Workflow, admission: Admission) -> Submitted | InlineRun:
        """Pin and submit; inside the request when it provably did not get there.

        While it is not known whether the text was stored, nothing has been submitted either.
        """
        queue = self._queue
        if queue is None or not await self._pin(queue, [workflow], admission.by):
            return await self._submission.fall_back(admission)
        try:
            outcome = await self._submission.enqueue(admission)
        except IdempotencyConflict:
            [task] = await self._as_before(queue, [admission.task], admission.by)
            outcome = await self._submission.enqueue(replace(admission, task=task))
        await self._pin_again(queue, [workflow], admission.by)
        return outcome

    async def enqueue_all(
        self,
        queue: TaskQueue,
        workflows: Sequence[Workflow],
        tasks: Sequence[NewTask],
        *,
        keyed: bool,
        by: float,
    ) -> list[Submitted]:
        """Pin and submit a batch: all of it, or nothing."""
        if not await self._pin(queue, workflows, by):
            raise Problem(
                QUEUE_UNAVAILABLE,
                "Redis cannot be reached now, and nothing of the batch was queued: try again",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        try:
            submitted = await self._submission.submit_all(queue, tasks, keyed=keyed, by=by)
        except IdempotencyConflict:
            if not workflows:
                raise
            tasks = await self._as_before(queue, tasks, by)
            submitted = await self._submission.submit_all(queue, tasks, keyed=keyed, by=by)
        await self._pin_again(queue, workflows, by)
        return submitted

    async def _pin(self, queue: TaskQueue, workflows: Sequence[Workflow], by: float) -> bool:
        """Whether Redis holds these workflows' texts now."""
        try:
            for workflow in workflows:
                if not self._definitions.is_pinned(queue, workflow):
                    pin = partial(self._definitions.pin, queue, workflow)
                    await self._availability.call(pin, by)
        except QueueUnavailable:
            return False
        return True

    async def _pin_again(self, queue: TaskQueue, workflows: Sequence[Workflow], by: float) -> None:
        """Once more if Redis has lost its data since, and this submit was the first to notice.

        Raises nothing: the submit is accepted, and the reply with its id must get out.
        """
        try:
            await self._pin(queue, workflows, by)
        except QueueError as error:
            log.warning("workflow.not_pinned", error=str(error))

    async def _as_before(
        self, queue: TaskQueue, tasks: Sequence[NewTask], by: float
    ) -> list[NewTask]:
        """The same tasks, each pinned as it was when its idempotency key was used before.

        A key stays good when only the workflow's definition has changed since.
        """
        ids = [task.id for task in tasks]
        found = await self._availability.call(lambda: queue.get_many(ids), by)
        return [
            msgspec.structs.replace(task, payload=earlier.payload)
            if earlier is not None and same_payload(earlier.payload, task.payload)
            else task
            for task, earlier in zip(tasks, found, strict=True)
        ]

"""Executing a workflow: the task that it becomes, pinned to the definition as it is now."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.handlers.builtin import WORKFLOW_EXECUTE
from headrace.taskqueue import IdempotencyConflict, QueueUnavailable, Submitted
from services.api.submission import InlineRun, Request, known_before

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.workflows import Workflow
    from services.api.context import Api

TASK_TYPE = WORKFLOW_EXECUTE


def payload_of(workflow_id: str, workflow: Workflow, variables: dict[str, Any]) -> bytes:
    """The payload of a task that executes a workflow, under the name that it was asked for."""
    return msgspec.json.encode(
        {"workflow_id": workflow_id, "variables": variables, "definition": workflow.sha256}
    )


async def enqueue(api: Api, workflow: Workflow, request: Request) -> Submitted | InlineRun:
    """Pin and submit; inside the request when it provably did not get there.

    While it is not known whether the text was stored, nothing has been submitted either.
    """
    queue = api.queue
    if queue is None or not await pin(api, [workflow]):
        return await api.submission.fall_back(request)
    try:
        outcome = await api.submission.enqueue(request)
    except IdempotencyConflict as conflict:
        return await _earlier(api, request, conflict)
    if not api.definitions.is_pinned(queue, workflow):
        # Redis has lost its data since the pinning, and this submit was the first to notice.
        await pin(api, [workflow])
    return outcome


async def run_inside(api: Api, request: Request) -> Submitted | InlineRun:
    """Run it inside the request, as asked."""
    try:
        return await api.submission.run_inline(request)
    except IdempotencyConflict as conflict:
        return await _earlier(api, request, conflict)


async def pin(api: Api, workflows: Sequence[Workflow]) -> bool:
    """Whether Redis holds these workflows' texts now."""
    queue = api.queue
    if queue is None:
        return False
    try:
        for workflow in workflows:
            if not api.definitions.is_pinned(queue, workflow):
                await api.submission.call(partial(api.definitions.pin, queue, workflow))
    except QueueUnavailable:
        return False
    return True


async def _earlier(
    api: Api, request: Request, conflict: IdempotencyConflict
) -> Submitted | InlineRun:
    """The task under the same key, if only the workflow's definition has changed since."""
    queue = api.queue
    if queue is None:
        raise conflict
    earlier = await api.submission.call(lambda: queue.get(request.task.id))
    if not same_request(earlier.payload, request.task.payload):
        raise conflict
    return known_before(earlier)


def same_request(one: bytes, other: bytes) -> bool:
    """Whether two payloads ask for the same, whatever definition each was pinned to."""
    first, second = (msgspec.json.decode(payload) for payload in (one, other))
    if not isinstance(first, dict) or not isinstance(second, dict):
        return False
    return {**first, "definition": None} == {**second, "definition": None}

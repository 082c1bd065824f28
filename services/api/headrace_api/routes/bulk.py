"""/api/bulk: one action for many tasks."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from headrace.contract import (
    BulkDetail,
    BulkDryRun,
    BulkFailureReply,
    BulkPage,
    BulkReply,
)
from headrace.contract.problems import IDEMPOTENCY_CONFLICT, QUEUE_DISABLED
from headrace.taskqueue import BulkNotFound, FilterInvalid, idempotent_id, match_filters, new_id
from headrace_api.context import Api, api_of
from headrace_api.http.auth import KEY_NAME, Permission
from headrace_api.http.bodies import bulk_body, idempotency_key, invalid_field
from headrace_api.http.problems import Problem
from headrace_api.http.routing import AUDIT_SUBJECT, GuardedRoute, needs
from headrace_api.routes import many_documentation as docs
from headrace_api.tasks.availability import decide_by
from headrace_api.tasks.replies import task_summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.taskqueue import Bulk, TaskFilter, TaskQueue

router = APIRouter(prefix="/api/bulk", tags=["bulk"], route_class=GuardedRoute)

COUNT_SECONDS = 1.5
"""Matches are counted for so long."""
SAMPLES = 3


@router.post("", **docs.BULK_START)
@needs(Permission.MANAGE, action="start-bulk")
async def start(
    request: HttpRequest,
    *,
    dry_run: Annotated[
        bool, Query(description="Do nothing: count the tasks, and show three of them.")
    ] = False,
) -> Response:
    """Retry, cancel, delete or run now all tasks that a filter finds.

    Its matches are those of this moment. It needs no worker: the API does it, in slices. An
    Idempotency-Key makes it safe to send twice.
    """
    api = api_of(request)
    queue = _queue(api)
    key = idempotency_key(request)
    body = await bulk_body(request)
    bulk_id = new_id() if key is None else idempotent_id("bulk", key)
    by: str = request.scope[KEY_NAME]
    try:
        if dry_run:
            return _json(await _dry_run(api, queue, match_filters(body.action, body.filter)))
        bulk = await api.availability.call(
            lambda: queue.bulks.start(bulk_id, body.action, body.filter, name=body.name, by=by)
        )
    except FilterInvalid as error:
        raise invalid_field(f"/filter/{error.parameter}", error.reason) from None
    asked = (body.action, msgspec.json.encode(body.filter), body.name)
    if asked != (bulk.action, msgspec.json.encode(bulk.filter), bulk.name):
        raise Problem(
            IDEMPOTENCY_CONFLICT,
            f"this Idempotency-Key started another bulk operation, {bulk_id}: take a new one",
            bulk_id=bulk_id,
        )
    request.scope[AUDIT_SUBJECT] = bulk_id
    return _json(_reply(bulk), 202)


@router.get("", **docs.BULKS)
@needs(Permission.READ)
async def bulks(request: HttpRequest, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> BulkPage:
    """The bulk operations, the newest first. They are kept for 7 days after their last step."""
    api = api_of(request)
    queue = api.queue
    if queue is None:
        return BulkPage(bulk=[])
    found = await api.availability.call(lambda: queue.bulks.newest(limit))
    return BulkPage(bulk=[_reply(bulk) for bulk in found])


@router.get("/{bulk_id}", **docs.BULK)
@needs(Permission.READ)
async def bulk(request: HttpRequest, bulk_id: str) -> BulkDetail:
    """One bulk operation, with the first tasks for which its action was refused."""
    api = api_of(request)
    queue = api.queue
    if queue is None:
        raise BulkNotFound(bulk_id)
    by = decide_by()
    found = await api.availability.call(lambda: queue.bulks.get(bulk_id), by)
    failures = await api.availability.call(lambda: queue.bulks.failures(bulk_id), by)
    return BulkDetail(
        **_reply(found).model_dump(),
        failures=[BulkFailureReply(task_id=f.task_id, reason=f.reason) for f in failures],
    )


@router.post("/{bulk_id}/stop", **docs.BULK_MARK)
@needs(Permission.MANAGE, action="stop-bulk")
async def stop(request: HttpRequest, bulk_id: str) -> BulkReply:
    """Stop a bulk operation. What it has done stays done. One that has ended stays as it is."""
    api = api_of(request)
    queue = _queue(api)
    return _reply(await api.availability.call(lambda: queue.bulks.stop(bulk_id)))


@router.post("/{bulk_id}/resume", **docs.BULK_MARK)
@needs(Permission.MANAGE, action="resume-bulk")
async def resume(request: HttpRequest, bulk_id: str) -> BulkReply:
    """Let a bulk operation go on where it was stopped, for the same matches."""
    api = api_of(request)
    queue = _queue(api)
    return _reply(await api.availability.call(lambda: queue.bulks.resume(bulk_id)))


async def _dry_run(api: Api, queue: TaskQueue, filters: Sequence[TaskFilter]) -> BulkDryRun:
    """Count for a moment."""
    by = decide_by()
    until = monotonic() + COUNT_SECONDS
    count, complete = 0, True
    ids: list[str] = []

    async def look() -> None:
        nonlocal count, complete
        async for page in queue.bulks.matches(filters):
            count += len(page)
            ids.extend(page[: SAMPLES - len(ids)])
            if monotonic() > until:
                complete = False
                return

    await api.availability.call(look, by)
    samples = await api.availability.call(lambda: queue.get_many(ids), by)
    return BulkDryRun(
        count=count,
        complete=complete,
        samples=[
            task_summary(task, api.live_workers.count(task.type))
            for task in samples
            if task is not None
        ],
    )


def _reply(bulk: Bulk) -> BulkReply:
    return BulkReply(
        bulk_id=bulk.id,
        action=bulk.action.value,
        name=bulk.name,
        filter=msgspec.to_builtins(bulk.filter),
        status=bulk.status.value,
        created_at=bulk.created_at,
        ended_at=bulk.ended_at,
        by=bulk.by,
        total=bulk.total,
        done=bulk.done,
        failed=bulk.failed,
        reasons=bulk.reasons,
    )


def _queue(api: Api) -> TaskQueue:
    if api.queue is None:
        raise Problem(QUEUE_DISABLED, "there are no tasks: QUEUE_ENABLED is false")
    return api.queue


def _json(reply: BulkReply | BulkDryRun, status: int = 200) -> Response:
    return Response(reply.model_dump_json(), status, media_type="application/json")

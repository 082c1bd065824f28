"""/api/tasks: the list with its filters, how many there are, and what is done with a task later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from headrace.contract import (
    CountsReply,
    EditReply,
    RunNowReply,
    TaskCountsReply,
    TaskListReply,
    WhyReply,
)
from headrace.taskqueue import TaskFilter, TaskInvalid, TaskStatus
from headrace_api.context import api_of
from headrace_api.http.auth import Permission
from headrace_api.http.bodies import edit_body, invalid_field, start_of
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs
from headrace_api.routes.sight import require_manager, sight_of
from headrace_api.routes.tasks import addressed, required_queue
from headrace_api.tasks.replies import task_page

router = APIRouter(prefix="/api", tags=["tasks"], route_class=GuardedRoute)

MAX_PAGE = 200


def _utc(moment: datetime | None) -> datetime | None:
    """A time without an offset is one in UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def task_filter(
    *,
    type: Annotated[str | None, Query(description="A task type's name.")] = None,
    status: Annotated[TaskStatus | None, Query(description="A state.")] = None,
    ended_after: Annotated[
        datetime | None, Query(description="Tasks that have ended, at this time or later.")
    ] = None,
    ended_before: Annotated[
        datetime | None, Query(description="Tasks that have ended, before this time.")
    ] = None,
    created_after: Annotated[
        datetime | None, Query(description="Submitted at this time or later.")
    ] = None,
    created_before: Annotated[
        datetime | None, Query(description="Submitted before this time.")
    ] = None,
    tag: Annotated[str | None, Query(description="One of its tags.")] = None,
    q: Annotated[
        str | None, Query(description="A text in the payload's JSON, as it was submitted.")
    ] = None,
    error: Annotated[str | None, Query(description="A text in the last error.")] = None,
    worker: Annotated[str | None, Query(description="What this worker runs.")] = None,
) -> TaskFilter:
    """The filter in a query. Raises FilterInvalid."""
    wanted = TaskFilter(
        type=type,
        status=status,
        ended_after=_utc(ended_after),
        ended_before=_utc(ended_before),
        created_after=_utc(created_after),
        created_before=_utc(created_before),
        tag=tag,
        q=q,
        error=error,
        worker=worker,
    )
    wanted.check()
    return wanted


@router.get("/tasks", response_model=TaskListReply, **docs.TASK_LIST)
@needs(Permission.READ)
async def list_tasks(
    request: HttpRequest,
    wanted: Annotated[TaskFilter, Depends(task_filter)],
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before this one.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """The tasks that fit all that is given.

    First what runs; then what waits, in the order of service; then what is pending, by its time;
    then what has ended, the newest first. A task that moves meanwhile may appear twice or not at
    all.

    `type`, `status`, `ended_after`, `ended_before` and `worker` cost the same at any number of
    tasks. For the others, a request looks through at most 10,000 tasks: `scanned` says how many.
    Without `type` there may be at most 100 task types.
    """
    api = api_of(request)
    queue = required_queue(api, "the list needs the queue")
    if wanted.q is not None and sight_of(request).payloads_are_hidden:
        require_manager(request)
    page = await api.availability.call(lambda: queue.list_tasks(wanted, cursor=cursor, limit=limit))
    return Response(task_page(page, api.live_workers.count), media_type="application/json")


@router.get("/tasks/counts", **docs.TASK_COUNTS)
@needs(Permission.READ)
async def counts(request: HttpRequest) -> TaskCountsReply:
    """How many tasks are in each state, by type.

    The numbers of queued, running and pending tasks are exact. Of ended ones, those in the indexes
    are counted; `capped` says whether older ones have left them.
    """
    api = api_of(request)
    queue = required_queue(api, "the counts need the queue")
    found = await api.availability.call(queue.count_tasks)
    return TaskCountsReply(
        counts={
            name: CountsReply.model_validate(msgspec.structs.asdict(numbers))
            for name, numbers in sorted(found.items())
        }
    )


async def why(request: HttpRequest, task_id: str) -> WhyReply:
    """Why a task waits: as a code, and in words that say what to do.

    The position is exact among the first 10,000 of its list, and an estimate behind them. The
    numbers of the workers are a second old at most.
    """
    queue, task_id = addressed(request, task_id)
    availability = api_of(request).availability
    found = await availability.call(lambda: queue.why(task_id, availability.stats))
    return WhyReply(task_id=task_id, **msgspec.structs.asdict(found))


async def edit(request: HttpRequest, task_id: str) -> EditReply:
    """Change a task that is pending or queued: its start time, its retries, its tags.

    A queued task with a start time to come is pending again. The start time of a run that has
    parked cannot be changed.
    """
    queue, task_id = addressed(request, task_id)
    body = await edit_body(request)
    start_at = start_of(body)
    try:
        status = await api_of(request).availability.call(
            lambda: queue.edit(
                task_id, start_at=start_at, max_retries=body.max_retries, tags=body.tags
            )
        )
    except TaskInvalid as error:
        raise invalid_field("/tags", str(error)) from None
    return EditReply(task_id=task_id, status=status)


async def run_now(request: HttpRequest, task_id: str) -> RunNowReply:
    """Queue a pending task before its time."""
    queue, task_id = addressed(request, task_id)
    status = await api_of(request).availability.call(lambda: queue.run_now(task_id))
    return RunNowReply(task_id=task_id, status=status)


async def delete(request: HttpRequest, task_id: str) -> Response:
    """Remove a task that has ended, and everything that is kept of it."""
    queue, task_id = addressed(request, task_id)
    await api_of(request).availability.call(lambda: queue.delete(task_id))
    return Response(status_code=204)


needs(Permission.READ)(why)
needs(Permission.SUBMIT, action="run-task")(run_now)
needs(Permission.MANAGE, action="edit-task")(edit)
needs(Permission.MANAGE, action="delete-task")(delete)
router.add_api_route("/tasks/{task_id}/run-now", run_now, methods=["POST"], **docs.RUN_NOW)
router.add_api_route("/tasks/{task_id}/why", why, methods=["GET"], **docs.WHY)
router.add_api_route("/tasks/{task_id}", edit, methods=["PATCH"], **docs.EDIT)
router.add_api_route("/tasks/{task_id}", delete, methods=["DELETE"], **docs.DELETE)

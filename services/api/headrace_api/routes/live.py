"""/api/live and /api/tasks/{task_id}/live: server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from headrace.contract import is_task_id
from headrace.contract.problems import QUEUE_DISABLED
from headrace.status import TaskStatus
from headrace.taskqueue import TaskNotFound
from headrace_api.context import api_of
from headrace_api.http.auth import Permission
from headrace_api.http.problems import Problem
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.http.sse import EventStream, last_event_id
from headrace_api.routes import many_documentation as docs
from headrace_api.routes.sight import sight_of
from headrace_api.tasks.live import state_id, task_events

router = APIRouter(prefix="/api", tags=["live"], route_class=GuardedRoute)


@router.get("/tasks/{task_id}/live", **docs.TASK_LIVE)
@needs(Permission.READ)
async def task_live(request: HttpRequest, task_id: str) -> Response:
    """A task's state and progress as they change, and its end."""
    api = api_of(request)
    queue, watch, normal = api.queue, api.waits.watch, task_id.lower()
    if queue is None or watch is None or not is_task_id(normal):
        raise TaskNotFound(task_id)
    task = await api.availability.call(lambda: queue.outline(normal))
    seen = last_event_id(request)
    if task.status.final and seen == state_id(task):
        return Response(status_code=204)
    events = task_events(queue, watch, task, seen, sight_of(request))
    return EventStream(api.streams, request, events)


@router.get("/live", **docs.LIVE)
@needs(Permission.READ)
async def live(
    request: HttpRequest,
    type: Annotated[
        list[str] | None, Query(description="Only the ends of these types.", max_length=100)
    ] = None,
    status: Annotated[
        list[TaskStatus] | None, Query(description="Only these ends.", max_length=3)
    ] = None,
) -> Response:
    """The stats and workers of each second, and the tasks that ended in it."""
    api = api_of(request)
    if api.feed is None:
        raise Problem(QUEUE_DISABLED, "there is nothing to tell of: QUEUE_ENABLED is false")
    events = api.feed.events(frozenset(type or ()), frozenset(status or ()), last_event_id(request))
    return EventStream(api.streams, request, events)

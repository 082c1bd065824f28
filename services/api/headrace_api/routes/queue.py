"""/api/workflows/queue: the queues' numbers, their last hour, and what failed for good."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from headrace.contract import (
    HistoryReply,
    Reply,
    StatsDisabled,
    StatsReply,
    StatsUnavailable,
    TaskPage,
)
from headrace.contract.problems import QUEUE_NOT_FOUND
from headrace.hints import did_you_mean
from headrace.taskqueue import QueueUnavailable
from headrace_api.context import Api, api_of
from headrace_api.http.auth import Permission
from headrace_api.http.problems import RETRY_AFTER_SECONDS, Problem
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs
from headrace_api.routes.sight import sight_of
from headrace_api.tasks.availability import decide_by
from headrace_api.tasks.replies import minute_reply, stats_reply, task_reply

router = APIRouter(prefix="/api/workflows/queue", tags=["queue"], route_class=GuardedRoute)

MAX_PAGE = 1000


@router.get("/stats", response_model=StatsReply | StatsDisabled, **docs.STATS)
@needs(Permission.OBSERVE)
async def stats(request: HttpRequest) -> Response:
    """The queues and workers at this moment.

    An outage of Redis is a 503 with `available: false`, never a row of zeros: a reader that sizes
    workers must be able to tell "nothing waits" from "nobody knows".
    """
    api = api_of(request)
    queue = api.queue
    if queue is None:
        return _json(StatsDisabled())
    try:
        found = await api.availability.call(lambda: queue.stats(api.queue_names()))
    except QueueUnavailable:
        return _json(StatsUnavailable(), 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
    return _json(stats_reply(found, api.queue_names()))


@router.get("/history", **docs.HISTORY)
@needs(Permission.OBSERVE)
async def history(
    request: HttpRequest,
    type: Annotated[
        str | None, Query(description="One queue's name; without it, all.", min_length=1)
    ] = None,
) -> HistoryReply:
    """What happened in each of the last 60 minutes, by queue."""
    api = api_of(request)
    if type is not None:
        await _check_known(api, type)
    queue = api.queue
    if queue is None:
        return HistoryReply(queues={})
    names = api.queue_names() if type is None else (type,)
    hours = await api.availability.call(
        lambda: asyncio.gather(*(queue.history(name) for name in names))
    )
    return HistoryReply(
        queues={
            name: [minute_reply(minute) for minute in hour]
            for name, hour in zip(names, hours, strict=True)
        }
    )


@router.get("/{task_type}/dead-letters", response_model=TaskPage, **docs.DEAD_LETTERS)
@needs(Permission.READ)
async def dead_letters(
    request: HttpRequest,
    task_type: str,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """Tasks of a type that failed for good, the latest first. `POST …/retry` queues one again."""
    api = api_of(request)
    await _check_known(api, task_type)
    queue = api.queue
    if queue is None:
        return _json(TaskPage(items=[], offset=offset, limit=limit, next_offset=None))
    tasks = await api.availability.call(lambda: queue.dead_letters(task_type, offset, limit))
    live_workers, sight = api.live_workers.count(task_type), sight_of(request)
    page = TaskPage(
        items=[task_reply(task, live_workers, sight) for task in tasks],
        offset=offset,
        limit=limit,
        next_offset=offset + limit if len(tasks) == limit else None,
    )
    return _json(page)


async def _check_known(api: Api, name: str) -> None:
    """Raise the 404 problem for a queue that nobody has ever used: it is misspelt."""
    stats = api.availability.stats
    if name in api.queue_names() or (stats is not None and name in stats.queues):
        return
    if await api.types.find(name, decide_by()) is None:
        raise Problem(
            QUEUE_NOT_FOUND,
            f"no task of a type {name!r} was ever submitted, and no worker has published it"
            + did_you_mean(name, api.queue_names()),
            task_type=name,
        )


def _json(reply: Reply, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(reply.model_dump_json(), status, headers, media_type="application/json")

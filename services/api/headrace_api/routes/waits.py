"""/api/tasks/wait: many tasks waited for by one request."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from headrace.contract import WaitReply
from headrace.contract.problems import QUEUE_DISABLED
from headrace_api.context import Api, api_of
from headrace_api.http.auth import Permission
from headrace_api.http.bodies import wait_body
from headrace_api.http.preferences import preferred_wait
from headrace_api.http.problems import Problem
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs
from headrace_api.routes.sight import sight_of
from headrace_api.tasks.availability import decide_by
from headrace_api.tasks.replies import task_reply
from headrace_api.tasks.waits import READ_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.taskqueue import Task, TaskQueue

router = APIRouter(prefix="/api/tasks", tags=["tasks"], route_class=GuardedRoute)

DEFAULT_SECONDS = 10
"""How long a wait lasts that does not say: less than most proxies allow a reply (15 s)."""
MAX_RESULT_BYTES = 4 * 1024 * 1024
"""No record is added to a reply whose results have so many bytes."""


@router.post("/wait", **docs.WAIT)
@needs(Permission.READ, lean=True)
async def wait(request: HttpRequest) -> Response:
    """Wait for up to 1000 tasks to end. The reply has the records of those that have ended.

    It comes once all have ended, or with `"for": "any"` once one has; after 10 s otherwise, or
    what `Prefer: wait=…` says. Ask again with the ids that are `left`.
    """
    api = api_of(request)
    body = await wait_body(request)
    queue, watch = api.queue, api.waits.watch
    if queue is None or watch is None:
        raise Problem(QUEUE_DISABLED, "there are no tasks to wait for: QUEUE_ENABLED is false")
    asked = preferred_wait(request)
    seconds = DEFAULT_SECONDS if asked is None else asked
    task_ids = list(dict.fromkeys(task_id.lower() for task_id in body.ids))
    every = body.until == "all"
    ends = await api.availability.call(lambda: watch.ended(task_ids))
    waiting = [task_id for task_id in task_ids if task_id not in ends]
    if waiting and seconds and (every or not ends):
        ends |= await api.waits.next_ends(request, waiting, seconds, every=every)
    tasks = await _records(api, queue, [task_id for task_id in task_ids if ends.get(task_id)])
    not_found = [task_id for task_id in task_ids if ends.get(task_id, "") is None]
    left = set(task_ids) - {task.id for task in tasks} - set(not_found)
    sight = sight_of(request)
    reply = WaitReply(
        tasks=[task_reply(task, api.live_workers.count(task.type), sight) for task in tasks],
        left=[task_id for task_id in task_ids if task_id in left],
        not_found=not_found,
    )
    headers = api.waits.answer_headers(seconds, final=not left)
    return Response(reply.model_dump_json(), headers=headers, media_type="application/json")


async def _records(api: Api, queue: TaskQueue, task_ids: Sequence[str]) -> list[Task]:
    """The records of tasks that have ended, as many as a reply may hold."""
    by, size = decide_by(), 0
    found: list[Task] = []
    for start in range(0, len(task_ids), READ_AT_ONCE):
        chunk = task_ids[start : start + READ_AT_ONCE]
        for task in await api.availability.call(partial(queue.get_many, chunk), by):
            # It may have been deleted or retried since.
            if task is not None and task.status.final and size < MAX_RESULT_BYTES:
                found.append(task)
                size += len(task.result or b"")
        if size >= MAX_RESULT_BYTES:
            break
    return found

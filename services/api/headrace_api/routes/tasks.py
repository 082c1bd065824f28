"""/api/tasks, and the same under the guide's /api/workflows/tasks: look up, cancel, retry.

Both addresses answer for tasks of every type: an id is unique, whatever it is of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from headrace.contract import CancelReply, InlineReply, RetryReply, TaskDetail, is_task_id
from headrace.contract.problems import QUEUE_DISABLED, TASK_RUNNING
from headrace.taskqueue import (
    NewTask,
    NotAllowed,
    Submitted,
    TaskNotFound,
    TaskStatus,
)
from headrace_api.context import Api, api_of
from headrace_api.http.auth import Permission
from headrace_api.http.bodies import (
    SubmitBody,
    batch_body,
    check_depth,
    id_of,
    idempotency_key,
    invalid_parameter,
    start_in_ms,
    start_of,
    submit_body,
)
from headrace_api.http.language import Language, preferred
from headrace_api.http.options import added_headers, options_of, release_headers
from headrace_api.http.preferences import preferred_wait
from headrace_api.http.problems import Problem
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs
from headrace_api.routes.sight import require_manager, sight_of
from headrace_api.tasks.availability import decide_by
from headrace_api.tasks.details import PARTS, Details
from headrace_api.tasks.executions import TASK_TYPE
from headrace_api.tasks.replies import execution, task_fields
from headrace_api.tasks.submission import Admission, InlineRun

if TYPE_CHECKING:
    from headrace.taskqueue import TaskQueue
    from headrace.workflows import Workflow
    from headrace_api.tasks.sight import Sight
    from headrace_api.tasks.task_types import TaskTypeEntry

router = APIRouter(prefix="/api", tags=["tasks"], route_class=GuardedRoute)

_PREFIXES = ("/workflows/tasks", "/tasks")

_MESSAGES: dict[str, dict[Language, str]] = {
    "cancelled": {Language.CHINESE: "任务已取消", Language.ENGLISH: "The task was cancelled"},
    "stopping": {
        Language.CHINESE: "已请求停止运行中的任务",
        Language.ENGLISH: "The running task was asked to stop",
    },
    "retried": {
        Language.CHINESE: "任务已重新加入队列",
        Language.ENGLISH: "The task was queued again",
    },
}


@router.post("/tasks/{task_type}", **docs.SUBMIT)
@needs(Permission.SUBMIT, lean=True)
async def submit(request: HttpRequest) -> Response:
    """Submit a task of any type. The type's schema checks the payload.

    While Redis is away, or if the queue is switched off, the task runs inside the request if this
    API has the type's handler.
    """
    api = api_of(request)
    await request.body()  # however long that takes: only what follows has a limit
    by = decide_by()
    task_type = await api.types.get(request.path_params["task_type"], by)
    key = idempotency_key(request)
    added = added_headers(request)
    task, keyed, workflow = await _task(api, task_type, await submit_body(request), key, added)
    admission = Admission(task, task_type, keyed=keyed, by=by)
    if workflow is None:
        outcome = await api.submission.enqueue(admission)
    else:
        outcome = await api.executions.enqueue(workflow, admission)
    live_workers = api.live_workers.count(task_type.name)
    if isinstance(outcome, InlineRun):
        inline = InlineReply.model_construct(
            execution=execution(outcome.task),
            stored=outcome.stored,
            **task_fields(outcome.task, live_workers),
        )
        return Response(inline.model_dump_json(), 200, media_type="application/json")
    body = _accepted(task_type.name, outcome, live_workers)
    return Response(body, 202, media_type="application/json")


@router.post("/tasks/{task_type}/batch", **docs.BATCH)
@needs(Permission.SUBMIT, lean=True)
async def submit_batch(request: HttpRequest) -> Response:
    """Submit up to 1000 tasks of a type: all of them, or none. They never run inside the request.

    With an Idempotency-Key, each task's key is that key and the task's place in the batch.
    """
    api = api_of(request)
    await request.body()
    by = decide_by()
    task_type = await api.types.get(request.path_params["task_type"], by)
    key = idempotency_key(request)
    queue = required_queue(api, "a batch needs the queue")
    tasks: list[NewTask] = []
    keyed = False
    workflows: dict[str, Workflow] = {}
    added = added_headers(request)
    for place, item in enumerate((await batch_body(request)).tasks):
        # No header can hold the character between: the key of one task is never one of these.
        task_key = None if key is None else f"{key}\0{place}"
        task, chosen, workflow = await _task(
            api, task_type, item, task_key, added, f"/tasks/{place}"
        )
        tasks.append(task)
        keyed |= chosen
        if workflow is not None:
            workflows[workflow.definition_sha256] = workflow
    submitted = await api.executions.enqueue_all(
        queue, list(workflows.values()), tasks, keyed=keyed, by=by
    )
    live_workers = api.live_workers.count(task_type.name)
    replies = [_accepted(task_type.name, reply, live_workers) for reply in submitted]
    body = b'{"tasks":[' + b",".join(replies) + b"]}"
    return Response(body, 202, media_type="application/json")


def _accepted(task_type: str, submitted: Submitted, live_workers: int | None) -> bytes:
    return msgspec.json.encode(
        {
            "task_id": submitted.id,
            "type": task_type,
            "status": submitted.status,
            "live_workers": live_workers,
        }
    )


async def _task(
    api: Api,
    task_type: TaskTypeEntry,
    body: SubmitBody,
    key: str | None,
    added: dict[str, str],
    place: str = "",
) -> tuple[NewTask, bool, Workflow | None]:
    """The task that a body asks for, its payload checked, and whether the caller chose its id.

    Last, of a workflow, what it is pinned to.

    `added`: the API's own headers.
    `place` is the JSON pointer of the body within the request's.
    """
    payload = msgspec.json.encode(body.payload)
    check_depth(payload, f"{place}/payload")
    task_type.check(payload, f"{place}/payload")
    workflow = None
    if task_type.name == TASK_TYPE:
        workflow_id, pin = body.payload["workflow_id"], body.payload.get("definition")
        if pin is None:
            workflow = api.definitions.get(workflow_id)
        else:
            pointer = f"{place}/payload/definition"
            workflow = api.definitions.get_pinned(workflow_id, pin, pointer)
        variables = body.payload.get("variables") or {}
        payload = await api.executions.payload_of(
            workflow_id, workflow, variables, f"{place}/payload/variables"
        )
    task_id, keyed = id_of(body, task_type.name, key, place)
    task = NewTask(
        type=task_type.name,
        payload=payload,
        payload_is_json=True,
        id=task_id,
        max_retries=task_type.max_retries if body.max_retries is None else body.max_retries,
        start_at=start_of(body, place),
        start_in_ms=start_in_ms(body),
        **options_of(body, added | release_headers(workflow), place),
    )
    return task, keyed, workflow


async def get(
    request: HttpRequest,
    task_id: str,
    *,
    include: Annotated[
        str,
        Query(
            description="`payload`, `attempts` (the last 20 that ended), `state` (what its run "
            "kept to go on from), or several of them with commas between.",
            json_schema_extra={"pattern": f"^(({'|'.join(PARTS)})(,({'|'.join(PARTS)}))*)?$"},
        ),
    ] = "",
) -> Response:
    """A task's record. It is kept for 7 days after the task has ended.

    With the header `Prefer: wait=10`, the reply comes once the task has ended, or after 10 s.
    """
    queue, task_id = addressed(request, task_id)
    api, by = api_of(request), decide_by()
    sight = sight_of(request)
    parts = _parts(request, include, sight)
    task = await api.availability.call(lambda: queue.get(task_id), by)
    headers = {}
    if (seconds := preferred_wait(request)) is not None:
        if not task.status.final:
            await api.waits.next_ends(request, [task_id], seconds)
            by = decide_by()
            task = await api.availability.call(lambda: api.waits.record(task_id), by)
        headers = api.waits.answer_headers(seconds, final=task.status.final)
    details = Details(api.availability, api.live_workers, api.definitions)
    reply = await details.reply(queue, task, parts, by, sight)
    return Response(reply.model_dump_json(), headers=headers, media_type="application/json")


def _parts(request: HttpRequest, include: str, sight: Sight) -> set[str]:
    """What is to be included. Raises the 422 problem, and the 403 one for what is hidden."""
    parts = {part.strip() for part in include.split(",") if part.strip()}
    if unknown := parts - set(PARTS):
        raise invalid_parameter(
            "include", f"there is no part {min(unknown)!r}: take {', '.join(PARTS)}"
        )
    if parts - {"attempts"} and sight.payloads_are_hidden:
        require_manager(request)
    return parts


async def cancel(
    request: HttpRequest,
    task_id: str,
    *,
    running: Annotated[
        bool, Query(description="Also ask a running task to stop; it ends in `cancelled`.")
    ] = False,
) -> Response:
    """Cancel a task that is pending or queued, or ask one that runs to stop.

    A running task is a 409 unless `running=true` asks for that.
    """
    queue, task_id = addressed(request, task_id)
    call = api_of(request).availability.call
    try:
        status = await call(lambda: queue.cancel(task_id, running=running))
    except NotAllowed as error:
        if error.status == TaskStatus.RUNNING:
            raise Problem(
                TASK_RUNNING,
                f"task {task_id} is running, and only pending and queued tasks are cancelled: "
                "add ?running=true to ask its handler to stop",
                task_id=task_id,
                task_status=error.status,
            ) from None
        raise
    stopping = status is TaskStatus.RUNNING
    message = _message(request, "stopping" if stopping else "cancelled")
    reply = CancelReply(task_id=task_id, status=status, message=message)
    code = 202 if stopping else 200
    return Response(reply.model_dump_json(), code, media_type="application/json")


async def retry(request: HttpRequest, task_id: str) -> RetryReply:
    """Queue a failed or cancelled task again, its retries counted from 0."""
    queue, task_id = addressed(request, task_id)
    status = await api_of(request).availability.call(lambda: queue.retry(task_id))
    return RetryReply(task_id=task_id, status=status, message=_message(request, "retried"))


needs(Permission.READ)(get)
needs(Permission.SUBMIT, action="cancel-task")(cancel)
needs(Permission.SUBMIT, action="retry-task")(retry)
for _prefix in _PREFIXES:
    _at = _prefix + "/{task_id}"
    router.add_api_route(_at, get, methods=["GET"], response_model=TaskDetail, **docs.TASK)
    router.add_api_route(
        _at + "/cancel", cancel, methods=["POST"], response_model=CancelReply, **docs.CANCEL
    )
    router.add_api_route(_at + "/retry", retry, methods=["POST"], **docs.RETRY)


def addressed(request: HttpRequest, task_id: str) -> tuple[TaskQueue, str]:
    """The queue and the id as the queue writes it. What is no UUID is no task's id."""
    queue = api_of(request).queue
    normal = task_id.lower()
    if queue is None or not is_task_id(normal):
        raise TaskNotFound(task_id)
    return queue, normal


def required_queue(api: Api, reason: str) -> TaskQueue:
    """The queue. Raises the 503 problem if it is switched off."""
    if api.queue is None:
        raise Problem(QUEUE_DISABLED, f"{reason}, and QUEUE_ENABLED is false")
    return api.queue


def _message(request: HttpRequest, name: str) -> str:
    return _MESSAGES[name][preferred(request.headers.get("accept-language", ""))]

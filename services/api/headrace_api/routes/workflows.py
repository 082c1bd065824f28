"""/api/workflows: the workflows there are, and executing one."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response

from headrace.contract import (
    WorkflowDetail,
    WorkflowExecuted,
    WorkflowsReply,
)
from headrace.taskqueue import NewTask, Submitted
from headrace_api.context import api_of
from headrace_api.http.auth import Permission
from headrace_api.http.bodies import (
    check_depth,
    execute_body,
    id_of,
    idempotency_key,
    invalid_parameter,
    start_in_ms,
    start_of,
)
from headrace_api.http.language import Language, preferred
from headrace_api.http.options import added_headers, options_of, release_headers
from headrace_api.http.routing import GuardedRoute, needs
from headrace_api.routes import documentation as docs
from headrace_api.routes.sight import sight_of
from headrace_api.tasks.availability import decide_by
from headrace_api.tasks.executions import TASK_TYPE
from headrace_api.tasks.replies import (
    broken_definition,
    execution,
    task_fields,
    workflow_summary,
)
from headrace_api.tasks.submission import Admission, InlineRun, lies_ahead

router = APIRouter(prefix="/api/workflows", tags=["workflows"], route_class=GuardedRoute)

_MESSAGES: dict[Language, dict[str, str]] = {
    Language.CHINESE: {
        "queued": "工作流已加入执行队列",
        "pending": "工作流已安排在指定时间执行",
        "repeated": "该请求已提交过，返回原任务",
        "completed": "工作流执行完成",
        "failed": "工作流执行失败",
    },
    Language.ENGLISH: {
        "queued": "The workflow was added to its queue",
        "pending": "The workflow is scheduled for its start time",
        "repeated": "This request was submitted before: here is its task",
        "completed": "The workflow was executed",
        "failed": "The workflow was executed and failed",
    },
}


@router.post("/{workflow_id}/execute", **docs.EXECUTE)
@needs(Permission.SUBMIT, lean=True)
async def execute(request: HttpRequest) -> Response:
    """Execute a workflow: through its queue, or inside the request.

    With `async_execute=true` (the default) the workflow goes into its queue, and the reply is a 202
    at once. With `false` it runs inside the request, and the reply is a 200 with its record. It
    also runs inside the request if the queue is switched off or Redis is away. Variables that do
    not fit the workflow's `input.schema` are a 422, and nothing is queued.
    """
    api = api_of(request)
    workflow_id: str = request.path_params["workflow_id"]
    workflow = api.definitions.get(workflow_id)
    asynchronous = _asynchronous(request.scope["query_string"])
    body = await execute_body(request)
    key = idempotency_key(request)
    by = decide_by()
    task_type = await api.types.get(TASK_TYPE, by)
    payload = await api.executions.payload_of(workflow_id, workflow, body.variables, "/variables")
    check_depth(payload, "/variables")
    task_id, keyed = id_of(body, TASK_TYPE, key)
    task = NewTask(
        type=TASK_TYPE,
        payload=payload,
        payload_is_json=True,
        id=task_id,
        max_retries=task_type.max_retries if body.max_retries is None else body.max_retries,
        start_at=start_of(body),
        start_in_ms=start_in_ms(body),
        **options_of(body, added_headers(request) | release_headers(workflow)),
    )
    admission = Admission(task, task_type, keyed=keyed, by=by)
    if not asynchronous and lies_ahead(task.start_at):
        raise invalid_parameter("async_execute", "a run inside the request takes no start time")
    if asynchronous:
        outcome = await api.executions.enqueue(workflow, admission)
    else:
        outcome = await api.submission.run_inline(admission)
    language = preferred(request.headers.get("accept-language", ""))
    live_workers = api.live_workers.count(TASK_TYPE)
    if isinstance(outcome, InlineRun):
        sees = sight_of(request).of_result(outcome.task) if outcome.earlier else {}
        fields = task_fields(outcome.task, live_workers) | sees
        return _executed(outcome, workflow_id, language, fields)
    return _accepted(outcome, workflow_id, language, live_workers)


@router.get("", response_model=WorkflowsReply, **docs.WORKFLOWS)
@needs(Permission.READ)
async def workflows(request: HttpRequest) -> WorkflowsReply:
    """All workflows that can be executed, and the files that could not be loaded."""
    definitions = api_of(request).definitions
    return WorkflowsReply(
        workflows=[workflow_summary(workflow) for workflow in definitions.workflows],
        errors=[broken_definition(error) for error in definitions.errors],
    )


@router.get("/{workflow_id}", response_model=WorkflowDetail, **docs.WORKFLOW)
@needs(Permission.READ)
async def workflow(
    request: HttpRequest,
    workflow_id: str,
    *,
    version: Annotated[
        str | None, Query(description="This version; by default the latest, which is executed.")
    ] = None,
) -> WorkflowDetail:
    """One workflow with the text of its definition."""
    definitions = api_of(request).definitions
    found = definitions.get(workflow_id, version)
    return WorkflowDetail(
        **workflow_summary(found).model_dump(),
        definition=found.definition.decode(),
        input_schema=None if found.input_schema is None else found.input_schema.document,
        versions=definitions.versions(workflow_id),
        errors=[broken_definition(error) for error in definitions.errors_of(workflow_id)],
    )


@lru_cache(maxsize=64)
def _asynchronous(query: bytes) -> bool:
    """The parameter `async_execute`. The last one counts."""
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("async_execute")
    if not values or values[-1].lower() in ("true", "1"):
        return True
    if values[-1].lower() in ("false", "0"):
        return False
    raise invalid_parameter("async_execute", "it must be true or false")


def _accepted(
    submitted: Submitted, workflow_id: str, language: Language, live_workers: int | None
) -> Response:
    """The guide's four fields first."""
    message = str(submitted.status) if submitted.created else "repeated"
    body = msgspec.json.encode(
        {
            "task_id": submitted.id,
            "status": submitted.status,
            "message": _MESSAGES[language][message],
            "workflow_id": workflow_id,
            "live_workers": live_workers,
        }
    )
    return _json(body, 202, language)


def _executed(
    run: InlineRun, workflow_id: str, language: Language, fields: dict[str, Any]
) -> Response:
    """The guide's four fields, then the record's."""
    model = WorkflowExecuted.model_construct(
        message=_MESSAGES[language][str(run.task.status)],
        workflow_id=workflow_id,
        execution=execution(run.task),
        stored=run.stored,
        **fields,
    )
    return _json(model.model_dump_json().encode(), 200, language)


def _json(body: bytes, status: int, language: Language) -> Response:
    return Response(
        body,
        status,
        media_type="application/json",
        headers={"Content-Language": language, "Vary": "Accept-Language"},
    )

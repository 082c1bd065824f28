"""Examples for the OpenAPI document: a real reply of each kind, and a real one of each problem."""

from __future__ import annotations

from typing import Any

from headrace.contract import TASK_ID, problems
from headrace.taskqueue import (
    BulkNotFound,
    IdempotencyConflict,
    LayoutTooNew,
    NotAllowed,
    NotSent,
    OutOfMemory,
    PayloadTooLarge,
    QueueError,
    QueueFull,
    TaskNotFound,
    TooManyBulks,
    UpgradeInProgress,
    WorkerNotFound,
)
from headrace_api.http.problems import Problem, internal_error, problem_of

RECORD: dict[str, Any] = {
    "task_id": TASK_ID,
    "type": "workflow_execute",
    "status": "completed",
    "created_at": "2026-01-01T10:00:00Z",
    "started_at": "2026-01-01T10:00:01Z",
    "completed_at": "2026-01-01T10:00:05Z",
    "result": {"workflow_id": "my_workflow", "status": "completed", "variables": {}},
    "error": None,
    "retry_count": 0,
    "max_retries": 3,
    "attempt": 1,
    "crash_count": 0,
    "due_at": None,
    "progress": {"percent": 100.0, "message": "greet"},
    "worker": "worker-7f9c-1-5d2e",
    "cancel_requested": False,
    "live_workers": 5,
}

CHANGE = {
    "at": "2026-01-01T10:00:00Z",
    "key": "billing",
    "action": "cancel-task",
    "subject": TASK_ID,
    "request_id": "5f0c1a7e8d3b4e0f9a6b2c4d8e1f3a5b",
}
WHY = {
    "task_id": TASK_ID,
    "status": "queued",
    "code": "slots-full",
    "text": "All 10 slots of the 1 workers of the type resize_image are taken. 4 tasks come before "
    "it.",
    "position": 5,
    "position_is_exact": True,
    "until": None,
    "live_workers": 1,
    "last_worker": None,
    "last_worker_at": None,
}
EDIT_BODIES = {
    "later": {"summary": "Begin in an hour", "value": {"start_in": 3600}},
    "tags": {
        "summary": "Other tags, no retries",
        "value": {"tags": ["nightly"], "max_retries": 0},
    },
}
TASK_SUMMARY = {name: value for name, value in RECORD.items() if name != "result"}
COUNTS = {
    "queued": 5,
    "running": 2,
    "pending": 1,
    "completed": 100_000,
    "failed": 3,
    "cancelled": 1,
    "capped": True,
}

SUBMITTED = {
    "task_id": TASK_ID,
    "status": "queued",
    "message": "工作流已加入执行队列",
    "workflow_id": "my_workflow",
    "live_workers": 5,
}
QUEUED = {"task_id": TASK_ID, "type": "resize_image", "status": "queued", "live_workers": 2}
EXECUTED = {
    "task_id": TASK_ID,
    "status": "completed",
    "message": "工作流执行完成",
    "workflow_id": "my_workflow",
    **{name: value for name, value in RECORD.items() if name not in ("task_id", "status")},
    "worker": None,
    "execution": "inline",
    "stored": True,
}
SUMMARY = {
    "workflow_id": "my_workflow",
    "version": "1.0.0",
    "title": "My workflow",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
DEFINITION = """document:
  dsl: '1.0.3'
  namespace: examples
  name: my_workflow
  version: 1.0.0
input:
  schema:
    document: { type: object, required: [name] }
do:
  - greet:
      set:
        greeting: ${ "Hello, " + .name }
"""
WORKFLOW = {
    **SUMMARY,
    "definition": DEFINITION,
    "input_schema": {"type": "object", "required": ["name"]},
    "versions": ["1.0.0"],
    "errors": [],
}
CANCELLED = {"task_id": TASK_ID, "status": "cancelled", "message": "任务已取消"}

EXECUTE_BODIES: dict[str, Any] = {
    "hello": {
        "summary": "The workflow examples/workflows/hello.yaml",
        "value": {"variables": {"name": "Ada"}},
    },
    "later": {
        "summary": "In ten minutes, tried once",
        "value": {"variables": {"name": "Ada"}, "start_in": 600, "max_retries": 0},
    },
}
SUBMIT_BODIES: dict[str, Any] = {
    "workflow_execute": {
        "summary": "A workflow",
        "value": {"payload": {"workflow_id": "hello", "variables": {"name": "Ada"}}},
    },
    "invoice_total": {
        "summary": "A type of your own, as in examples/package",
        "value": {
            "payload": {
                "number": "2026-17",
                "lines": [{"text": "tea", "quantity": 3, "price": "4.50"}],
            },
            "headers": {"tenant": "acme"},
            "tags": ["nightly", "customer:7"],
        },
    },
}
BATCH_BODIES: dict[str, Any] = {
    name: {
        "summary": example["summary"],
        "value": {"tasks": [example["value"], {**example["value"], "start_in": 60}]},
    }
    for name, example in SUBMIT_BODIES.items()
}
TASK_TYPE: dict[str, Any] = {
    "name": "invoice_total",
    "payload_schema": {
        "type": "object",
        "properties": {"number": {"type": "string"}, "lines": {"type": "array", "minItems": 1}},
        "required": ["number", "lines"],
    },
    "max_retries": 3,
    "timeout_seconds": 300.0,
    "version": "1.0.0",
    "live_workers": 2,
    "runs_inline": False,
}

_TASK = f"/api/tasks/{TASK_ID}"
_EXECUTE = "/api/workflows/my_workflow/execute"
_SUBMIT = "/api/tasks/invoice_total"


def _of(error: QueueError, instance: str) -> tuple[Problem, str]:
    return problem_of(error), instance


_PROBLEMS: list[tuple[Problem, str]] = [
    (Problem(problems.BAD_REQUEST, "the request is not valid HTTP"), "/"),
    (
        Problem(
            problems.MALFORMED_JSON,
            "the body is not valid JSON: it goes wrong at line 1, column 15",
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.UNAUTHORIZED,
            "send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
        ),
        _TASK,
    ),
    (
        Problem(
            problems.FORBIDDEN,
            "this API key has the role read, and this needs one of: submit, admin",
            roles=["submit", "admin"],
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.CROSS_SITE,
            "a page of another site sent this request; an API without keys takes it from its own "
            "pages, from those in CORS_ORIGINS and from other programs only",
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.ROUTE_NOT_FOUND,
            "there is nothing at /api/task: the addresses are listed at /docs",
        ),
        "/api/task",
    ),
    _of(TaskNotFound(TASK_ID), _TASK),
    (
        Problem(
            problems.WORKFLOW_NOT_FOUND,
            "no workflow 'my_workfow' is in the folder WORKFLOWS_DIR: see GET /api/workflows. "
            "Did you mean 'my-workflow'?",
            workflow_id="my_workfow",
        ),
        "/api/workflows/my_workfow/execute",
    ),
    (
        Problem(
            problems.QUEUE_NOT_FOUND,
            "no task of a type 'invoice_totals' was ever submitted, and no worker has published "
            "it. Did you mean 'invoice_total'?",
            task_type="invoice_totals",
        ),
        "/api/workflows/queue/invoice_totals/dead-letters",
    ),
    _of(WorkerNotFound("worker-7f9c-1-5d2e"), "/api/workers/worker-7f9c-1-5d2e/drain"),
    (
        Problem(
            problems.METHOD_NOT_ALLOWED,
            "/api/workers does not take POST; it takes GET, HEAD",
        ),
        "/api/workers",
    ),
    _of(NotAllowed(TASK_ID, "cancel", "completed"), f"{_TASK}/cancel"),
    (
        Problem(
            problems.TASK_RUNNING,
            f"task {TASK_ID} is running, and only pending and queued tasks are cancelled: "
            "add ?running=true to ask its handler to stop",
            task_id=TASK_ID,
            task_status="running",
        ),
        f"{_TASK}/cancel",
    ),
    _of(IdempotencyConflict(TASK_ID), _EXECUTE),
    (
        Problem(
            problems.WORKFLOW_BROKEN,
            "the definition of 'my_workflow' cannot be used: my-workflow.yaml:9: task 'shell': "
            "`run` tasks are not supported yet",
            workflow_id="my_workflow",
            file="my-workflow.yaml",
            line=9,
            task="shell",
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.BODY_TOO_LARGE,
            "the body has 3145728 bytes or more, the limit is 2097152: store the data elsewhere "
            "and send a reference, or raise MAX_BODY_BYTES",
            max_bytes=2097152,
        ),
        _EXECUTE,
    ),
    _of(PayloadTooLarge(1500000, 1048576), _EXECUTE),
    (
        Problem(
            problems.UNSUPPORTED_MEDIA_TYPE,
            "the body's type is text/plain: send JSON, with the header "
            "`Content-Type: application/json`",
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.INVALID_REQUEST,
            "there is no field `variable`: `variables` is meant",
            errors=[
                {"detail": "there is no field `variable`: `variables` is meant", "pointer": ""}
            ],
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.INVALID_PAYLOAD,
            "the payload does not fit the task type 'invoice_total': 0 is less than the minimum "
            "of 1",
            errors=[
                {
                    "detail": "0 is less than the minimum of 1",
                    "pointer": "/payload/lines/0/quantity",
                }
            ],
        ),
        _SUBMIT,
    ),
    (internal_error(), _TASK),
    (
        Problem(
            problems.TASK_TYPE_UNKNOWN,
            "no worker has ever published a task type 'invoice_totals' and this API has no handler "
            "for it: start a worker that has it. Known are: chat_process, invoice_total. "
            "Did you mean 'invoice_total'?",
            task_type="invoice_totals",
        ),
        "/api/tasks/invoice_totals",
    ),
    _of(NotSent(""), _TASK),
    (
        Problem(problems.QUEUE_DISABLED, "a batch needs the queue, and QUEUE_ENABLED is false"),
        f"{_SUBMIT}/batch",
    ),
    _of(QueueFull("invoice_total", 1000000), _SUBMIT),
    _of(OutOfMemory("Redis has no memory left (maxmemory): nothing was written"), _SUBMIT),
    _of(UpgradeInProgress(TASK_ID), _SUBMIT),
    _of(LayoutTooNew("2", 1), _TASK),
    (
        Problem(
            problems.SUBMIT_UNCONFIRMED,
            "Redis did not confirm the submit, so it may have been carried out or not: look the "
            "task up under its id before you send the request again",
            task_id=TASK_ID,
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.INLINE_BUSY,
            "8 tasks run inside requests already (INLINE_MAX): try again later",
        ),
        _EXECUTE,
    ),
    (
        Problem(
            problems.STREAMS_BUSY,
            "200 requests are held open, which is MAX_STREAMS: try again later",
        ),
        "/api/live",
    ),
    (
        problem_of(BulkNotFound("7d444840-9dc0-41d4-b245-5ffdce74fad2")),
        "/api/bulk/7d444840-9dc0-41d4-b245-5ffdce74fad2",
    ),
    (problem_of(TooManyBulks(100)), "/api/bulk"),
    (
        Problem(
            problems.WAITS_BUSY, "1000 requests are held open, which is MAX_WAITS: try again later"
        ),
        "/api/tasks/wait",
    ),
]
PROBLEMS: dict[str, Any] = {
    problem.kind.slug: {
        "type": problem.kind.uri,
        "title": problem.kind.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "request_id": "5f0c1a7e8d3b4e0f9a6b2c4d8e1f3a5b",
        **problem.extensions,
    }
    for problem, instance in _PROBLEMS
}
"""By slug, each as it is sent."""

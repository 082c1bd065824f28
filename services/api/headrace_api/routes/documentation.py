"""What the OpenAPI document says about each route: its tag, bodies, replies, errors."""

from __future__ import annotations

from typing import Any

from headrace.contract import (
    TASK_ID,
    BatchSubmitted,
    CancelReply,
    InlineReply,
    ReadyReply,
    StatsUnavailable,
    TaskSubmitted,
    WaitReply,
    WorkflowExecuted,
    WorkflowSubmitted,
    problems,
)
from headrace_api.http.bodies import (
    BatchBody,
    EditBody,
    ExecuteBody,
    SubmitBody,
    WaitBody,
)
from headrace_api.routes import examples, many_examples, queue_examples
from headrace_api.routes.describing import KEY as _KEY
from headrace_api.routes.describing import REACHING_REDIS as _REACHING_REDIS
from headrace_api.routes.describing import body as _body
from headrace_api.routes.describing import errors
from headrace_api.routes.describing import path as _path
from headrace_api.routes.describing import reply as _reply

TAGS = [
    {
        "name": "workflows",
        "description": "The workflows of the folder `WORKFLOWS_DIR`, and executing one.",
    },
    {
        "name": "tasks",
        "description": "Tasks of every type: submit, look up, cancel and retry them. "
        "`/api/workflows/tasks` is the guide's address for the same.",
    },
    {"name": "live", "description": "Server-sent events: what happens, as it happens."},
    {
        "name": "bulk",
        "description": "One action for many tasks: retry, cancel, delete, run now.",
    },
    {
        "name": "queue",
        "description": "How long the queues are, what happened in the last hour, and what failed "
        "for good.",
    },
    {
        "name": "workers",
        "description": "The live workers, what each runs, and the mark that stops a worker "
        "from claiming before it is removed.",
    },
    {"name": "audit", "description": "Who has changed what, and when."},
    {"name": "health", "description": "For probes. They need no key."},
]
"""In the order of the page."""

_TAKING = (
    problems.MALFORMED_JSON,
    problems.BODY_TOO_LARGE,
    problems.PAYLOAD_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.INVALID_REQUEST,
    problems.INVALID_PAYLOAD,
    problems.IDEMPOTENCY_CONFLICT,
    problems.QUEUE_FULL,
    problems.QUEUE_OUT_OF_MEMORY,
    problems.UPGRADE_IN_PROGRESS,
    *_REACHING_REDIS,
    problems.QUEUE_DISABLED,
    problems.SUBMIT_UNCONFIRMED,
)


_PARENT = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "W3C Trace Context: the task gets it as a header. What is none is passed over.",
    "schema": {"type": "string"},
    "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
_ASYNC = {
    "name": "async_execute",
    "in": "query",
    "required": False,
    "description": "`false`: run inside the request.",
    "schema": {"type": "boolean", "default": True},
}
_LANGUAGE = {
    "name": "Accept-Language",
    "in": "header",
    "required": False,
    "description": "`message` is in Chinese unless you prefer English.",
    "schema": {"type": "string"},
    "example": "en",
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=10` (RFC 7240): answer once it has ended, or after 10 s; at most 60. The "
    "reply says so in `Preference-Applied`.",
    "schema": {"type": "string"},
}
_APPLIED = {
    "Preference-Applied": {
        "description": "How long the reply would have been held back. A server that stops answers "
        "at once, with `Retry-After` instead.",
        "schema": {"type": "string"},
    }
}
_TYPE = _path("task_type", "A task type's name.")

EXECUTE: dict[str, Any] = {
    "status_code": 202,
    "response_model": WorkflowSubmitted,
    "responses": {
        200: {"model": WorkflowExecuted, **_reply(examples.EXECUTED, "It ran inside the request")},
        202: _reply(examples.SUBMITTED, "It is in its queue"),
        **errors(
            problems.WORKFLOW_NOT_FOUND, problems.WORKFLOW_BROKEN, *_TAKING, problems.INLINE_BUSY
        ),
    },
    "openapi_extra": {
        "parameters": [
            _path("workflow_id", "The workflow's name."),
            _ASYNC,
            _KEY,
            _PARENT,
            _LANGUAGE,
        ],
        "requestBody": _body(ExecuteBody, examples.EXECUTE_BODIES, required=False),
    },
}
SUBMIT: dict[str, Any] = {
    "status_code": 202,
    "response_model": TaskSubmitted,
    "responses": {
        200: {
            "model": InlineReply,
            **_reply(
                {**examples.RECORD, "worker": None, "execution": "inline", "stored": False},
                "It ran inside the request, because Redis was away",
            ),
        },
        202: _reply(examples.QUEUED, "Queued"),
        **errors(problems.TASK_TYPE_UNKNOWN, *_TAKING, problems.INLINE_BUSY),
    },
    "openapi_extra": {
        "parameters": [_TYPE, _KEY, _PARENT],
        "requestBody": _body(SubmitBody, examples.SUBMIT_BODIES, required=True),
    },
}
BATCH: dict[str, Any] = {
    "status_code": 202,
    "response_model": BatchSubmitted,
    "responses": {
        202: _reply(
            {"tasks": [examples.QUEUED]},
            "All are queued",
        ),
        **errors(problems.TASK_TYPE_UNKNOWN, *_TAKING),
    },
    "openapi_extra": {
        "parameters": [_TYPE, _KEY, _PARENT],
        "requestBody": _body(BatchBody, examples.BATCH_BODIES, required=True),
    },
}
TASK_TYPES: dict[str, Any] = {
    "responses": {200: _reply({"task_types": [examples.TASK_TYPE]})},
}
WORKFLOWS: dict[str, Any] = {
    "responses": {200: _reply({"workflows": [examples.SUMMARY], "errors": []})},
}
WORKFLOW: dict[str, Any] = {
    "responses": {
        200: _reply(examples.WORKFLOW),
        **errors(problems.WORKFLOW_NOT_FOUND, problems.WORKFLOW_BROKEN),
    },
}
TASK: dict[str, Any] = {
    "responses": {
        200: _reply(examples.RECORD, headers=_APPLIED),
        **errors(
            problems.TASK_NOT_FOUND,
            problems.INVALID_REQUEST,
            problems.WAITS_BUSY,
            *_REACHING_REDIS,
        ),
    },
    "openapi_extra": {"parameters": [_PREFER]},
}
WAIT: dict[str, Any] = {
    "response_model": WaitReply,
    "responses": {
        200: _reply(
            {"tasks": [examples.RECORD], "left": [many_examples.OTHER_ID], "not_found": []},
            headers=_APPLIED,
        ),
        **errors(
            problems.MALFORMED_JSON,
            problems.BODY_TOO_LARGE,
            problems.UNSUPPORTED_MEDIA_TYPE,
            problems.INVALID_REQUEST,
            problems.QUEUE_DISABLED,
            problems.WAITS_BUSY,
            *_REACHING_REDIS,
        ),
    },
    "openapi_extra": {
        "parameters": [_PREFER],
        "requestBody": _body(WaitBody, many_examples.WAIT_BODIES, required=True),
    },
}
CANCEL: dict[str, Any] = {
    "responses": {
        200: _reply(examples.CANCELLED, "Cancelled: it will not run"),
        202: {
            "model": CancelReply,
            **_reply(
                {**examples.CANCELLED, "status": "running", "message": "已请求停止运行中的任务"},
                "It runs, and was asked to stop: it ends in `cancelled`",
            ),
        },
        **errors(
            problems.TASK_NOT_FOUND,
            problems.TASK_RUNNING,
            problems.NOT_ALLOWED,
            problems.INVALID_REQUEST,
            *_REACHING_REDIS,
        ),
    },
}
RETRY: dict[str, Any] = {
    "status_code": 202,
    "responses": {
        202: _reply({"task_id": TASK_ID, "status": "queued", "message": "任务已重新加入队列"}),
        **errors(
            problems.TASK_NOT_FOUND,
            problems.NOT_ALLOWED,
            problems.QUEUE_FULL,
            problems.UPGRADE_IN_PROGRESS,
            *_REACHING_REDIS,
        ),
    },
}
TASK_LIST: dict[str, Any] = {
    "responses": {
        200: _reply(
            {"items": [examples.TASK_SUMMARY], "scanned": 1, "complete": True, "next_cursor": None}
        ),
        **errors(problems.INVALID_REQUEST, problems.QUEUE_DISABLED, *_REACHING_REDIS),
    },
}
TASK_COUNTS: dict[str, Any] = {
    "responses": {
        200: _reply({"counts": {"workflow_execute": examples.COUNTS}}),
        **errors(problems.QUEUE_DISABLED, *_REACHING_REDIS),
    },
}
_CHANGED = (problems.TASK_NOT_FOUND, problems.NOT_ALLOWED, *_REACHING_REDIS)
WHY: dict[str, Any] = {
    "responses": {
        200: _reply(examples.WHY),
        **errors(problems.TASK_NOT_FOUND, *_REACHING_REDIS),
    },
}
EDIT: dict[str, Any] = {
    "responses": {
        200: _reply({"task_id": TASK_ID, "status": "pending"}),
        **errors(
            problems.MALFORMED_JSON,
            problems.BODY_TOO_LARGE,
            problems.UNSUPPORTED_MEDIA_TYPE,
            problems.INVALID_REQUEST,
            problems.UPGRADE_IN_PROGRESS,
            problems.QUEUE_OUT_OF_MEMORY,
            *_CHANGED,
        ),
    },
    "openapi_extra": {"requestBody": _body(EditBody, examples.EDIT_BODIES, required=True)},
}
RUN_NOW: dict[str, Any] = {
    "status_code": 202,
    "responses": {202: _reply({"task_id": TASK_ID, "status": "queued"}), **errors(*_CHANGED)},
}
DELETE: dict[str, Any] = {
    "status_code": 204,
    "responses": {204: {"description": "It is gone"}, **errors(*_CHANGED)},
}
STATS: dict[str, Any] = {
    "responses": {
        200: _reply(queue_examples.STATS, "`enabled` is false when the queue is switched off"),
        503: {
            "model": StatsUnavailable,
            **_reply({"enabled": True, "available": False}, "Redis is away: never zeros"),
        },
    },
}
HISTORY: dict[str, Any] = {
    "responses": {
        200: _reply({"queues": {"workflow_execute": [queue_examples.MINUTE]}}),
        **errors(problems.QUEUE_NOT_FOUND, problems.INVALID_REQUEST, *_REACHING_REDIS),
    },
}
DEAD_LETTERS: dict[str, Any] = {
    "responses": {
        200: _reply(
            {
                "items": [
                    {
                        **examples.RECORD,
                        "status": "failed",
                        "result": None,
                        "error": "ValueError: no such city",
                        "retry_count": 3,
                        "attempt": 4,
                    }
                ],
                "offset": 0,
                "limit": 50,
                "next_offset": None,
            }
        ),
        **errors(problems.QUEUE_NOT_FOUND, problems.INVALID_REQUEST, *_REACHING_REDIS),
    },
}
WORKERS: dict[str, Any] = {
    "responses": {200: _reply({"workers": [queue_examples.WORKER]}), **errors(*_REACHING_REDIS)},
}
DRAIN: dict[str, Any] = {
    "responses": {
        200: _reply({"id": "worker-7f9c-1-5d2e", "draining": True}),
        **errors(problems.WORKER_NOT_FOUND, *_REACHING_REDIS),
    },
}
AUDIT: dict[str, Any] = {
    "responses": {
        200: _reply({"items": [examples.CHANGE], "next_cursor": None}),
        **errors(problems.INVALID_REQUEST, problems.QUEUE_DISABLED, *_REACHING_REDIS),
    },
}
HEALTH: dict[str, Any] = {"responses": {200: _reply({"status": "ok"})}}
READY: dict[str, Any] = {
    "responses": {
        200: _reply({"status": "ready", "redis": "available"}),
        503: {
            "model": ReadyReply,
            **_reply({"status": "stopping", "redis": "available"}, "It starts or stops"),
        },
    },
}

"""What the OpenAPI document says about each route: examples, bodies, errors."""

from __future__ import annotations

from typing import Any

import msgspec

from services.api import problems
from services.api.bodies import BatchBody, ExecuteBody, SubmitBody
from services.api.models import (
    TASK_ID,
    BatchSubmitted,
    CancelReply,
    InlineReply,
    ReadyReply,
    TaskSubmitted,
    WorkflowExecuted,
    WorkflowSubmitted,
)
from services.api.problems import MEDIA_TYPE, ProblemType
from services.api.stats_models import StatsUnavailable

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

_SUBMITTED = {
    "task_id": TASK_ID,
    "status": "queued",
    "message": "工作流已加入执行队列",
    "workflow_id": "my_workflow",
    "live_workers": 5,
}
_QUEUED = {"task_id": TASK_ID, "type": "resize_image", "status": "queued", "live_workers": 2}
_EXECUTED = {
    "task_id": TASK_ID,
    "status": "completed",
    "message": "工作流执行完成",
    "workflow_id": "my_workflow",
    **{name: value for name, value in RECORD.items() if name not in ("task_id", "status")},
    "worker": None,
    "execution": "inline",
    "stored": True,
}
_QUEUE = {
    "queue_length": 5,
    "running": 2,
    "delayed": 0,
    "due_soon": 0,
    "oldest_age_seconds": 1.25,
    "arrivals_per_minute": 60.0,
    "completions_per_minute": 55.0,
    "failures_per_minute": 0.0,
    "retries_per_minute": 1.0,
    "crashes_per_minute": 0.0,
    "failure_rate": 0.0,
    "service_seconds_mean": 1.9,
    "queue_length_retries": 1,
    "arrivals_total": 1234,
    "completions_total": 1220,
    "failures_total": 3,
    "retries_total": 17,
    "crashes_total": 0,
    "service_seconds_total": 2318.5,
}
_WORKER = {
    "id": "worker-7f9c-1-5d2e",
    "pod": None,
    "queues": ["workflow_execute"],
    "concurrency": 5,
    "running": [
        {
            "task_id": TASK_ID,
            "type": "workflow_execute",
            "attempt": 1,
            "started_at": "2026-01-01T10:00:01Z",
            "timed_out": False,
        }
    ],
    "busy_slots": 1,
    "draining": False,
    "drained": False,
    "oldest_started_at": "2026-01-01T10:00:01Z",
    "expected_free_seconds": 0.9,
    "host": "node-1",
    "pid": 1,
    "version": "0.1.0",
    "started_at": "2026-01-01T09:00:00Z",
    "last_seen_at": "2026-01-01T10:00:02Z",
}
_STATS = {
    "enabled": True,
    "queues": {
        name: _QUEUE if name == "workflow_execute" else {**_QUEUE, "queue_length": 0}
        for name in ("workflow_execute", "chat_process", "knowledge_search")
    },
    "available": True,
    "at": "2026-01-01T10:00:02Z",
    "version": 1,
    "epoch": "0b5d7c8e2f1a4f3b",
    "workers": [_WORKER],
}
_SUMMARY = {
    "workflow_id": "my_workflow",
    "version": "1.0.0",
    "title": "My workflow",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_DEFINITION = """document:
  dsl: '1.0.3'
  namespace: examples
  name: my_workflow
  version: 1.0.0
do:
  - greet:
      set:
        greeting: ${ "Hello, " + .name }
"""

_REACHING_REDIS = (problems.QUEUE_UNAVAILABLE, problems.UPGRADE_NEEDED)
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
    *_REACHING_REDIS,
    problems.QUEUE_DISABLED,
    problems.SUBMIT_UNCONFIRMED,
)


def example(kind: ProblemType) -> dict[str, Any]:
    """A problem of this type, as an example."""
    return {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": "What is wrong, and what to do about it.",
        "instance": "/api/…",
        "request_id": "5f0c1a7e8d3b4e0f9a6b2c4d8e1f3a5b",
    }


def errors(*kinds: ProblemType) -> dict[int | str, dict[str, Any]]:
    """Responses by status, with an example for each type."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = found.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/ProblemReply"},
                        "examples": {},
                    }
                },
            },
        )
        response["content"][MEDIA_TYPE]["examples"][kind.slug] = {
            "summary": kind.title,
            "value": example(kind),
        }
        titles = filter(None, [response["description"], kind.title])
        response["description"] = "; ".join(titles)
    return found


def _reply(value: Any, description: str = "", **more: Any) -> dict[str, Any]:
    content = {"application/json": {"example": value}}
    return {"description": description or "OK", "content": content, **more}


def _body(model: type[msgspec.Struct], value: dict[str, Any], *, required: bool) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components(
        [model], ref_template="#/components/schemas/{name}"
    )
    assert "$ref" in schema
    for component in components.values():
        if "start_in" in component["properties"]:
            component["not"] = {"required": ["start_at", "start_in"]}
    bodies.update(components)
    return {
        "required": required,
        "content": {"application/json": {"schema": schema, "example": value}},
    }


bodies: dict[str, Any] = {}
"""The schemas of the bodies that msgspec reads; they join the document's components."""


def _path(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key again makes no second task; for another one it is a 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
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
    "description": "`message` is Chinese unless English is preferred.",
    "schema": {"type": "string"},
    "example": "en",
}
_TYPE = _path("task_type", "A task type's name.")

EXECUTE: dict[str, Any] = {
    "status_code": 202,
    "response_model": WorkflowSubmitted,
    "responses": {
        200: {"model": WorkflowExecuted, **_reply(_EXECUTED, "It ran inside the request")},
        202: _reply(_SUBMITTED, "It is in its queue"),
        **errors(
            problems.WORKFLOW_NOT_FOUND, problems.WORKFLOW_BROKEN, *_TAKING, problems.INLINE_BUSY
        ),
    },
    "openapi_extra": {
        "parameters": [_path("workflow_id", "The workflow's name."), _ASYNC, _KEY, _LANGUAGE],
        "requestBody": _body(ExecuteBody, {"variables": {"param1": "value1"}}, required=False),
    },
}
SUBMIT: dict[str, Any] = {
    "status_code": 202,
    "response_model": TaskSubmitted,
    "responses": {
        200: {
            "model": InlineReply,
            **_reply(
                {**RECORD, "worker": None, "execution": "inline", "stored": False},
                "It ran inside the request, for Redis was away",
            ),
        },
        202: _reply(_QUEUED, "Queued"),
        **errors(problems.TASK_TYPE_UNKNOWN, *_TAKING, problems.INLINE_BUSY),
    },
    "openapi_extra": {
        "parameters": [_TYPE, _KEY],
        "requestBody": _body(SubmitBody, {"payload": {"url": "photo.jpg"}}, required=True),
    },
}
BATCH: dict[str, Any] = {
    "status_code": 202,
    "response_model": BatchSubmitted,
    "responses": {
        202: _reply(
            {"tasks": [_QUEUED]},
            "All are queued",
        ),
        **errors(problems.TASK_TYPE_UNKNOWN, *_TAKING),
    },
    "openapi_extra": {
        "parameters": [_TYPE, _KEY],
        "requestBody": _body(
            BatchBody, {"tasks": [{"payload": {"url": "photo.jpg"}}]}, required=True
        ),
    },
}
WORKFLOWS: dict[str, Any] = {
    "responses": {200: _reply({"workflows": [_SUMMARY], "errors": []})},
}
WORKFLOW: dict[str, Any] = {
    "responses": {
        200: _reply({**_SUMMARY, "definition": _DEFINITION}),
        **errors(problems.WORKFLOW_NOT_FOUND, problems.WORKFLOW_BROKEN),
    },
}
TASK: dict[str, Any] = {
    "responses": {200: _reply(RECORD), **errors(problems.TASK_NOT_FOUND, *_REACHING_REDIS)},
}
_CANCELLED = {"task_id": TASK_ID, "status": "cancelled", "message": "任务已取消"}
CANCEL: dict[str, Any] = {
    "responses": {
        200: _reply(_CANCELLED, "Cancelled: it will not run"),
        202: {
            "model": CancelReply,
            **_reply(
                {**_CANCELLED, "status": "running", "message": "已请求停止运行中的任务"},
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
            problems.TASK_NOT_FOUND, problems.NOT_ALLOWED, problems.QUEUE_FULL, *_REACHING_REDIS
        ),
    },
}
STATS: dict[str, Any] = {
    "responses": {
        200: _reply(_STATS, "`enabled` is false when the queue is switched off"),
        503: {
            "model": StatsUnavailable,
            **_reply({"enabled": True, "available": False}, "Redis is away: never zeros"),
        },
    },
}
_MINUTE = {
    "minute": "2026-01-01T10:00:00Z",
    "arrivals": 60,
    "completions": 55,
    "failures": 0,
    "retries": 1,
    "crashes": 0,
    "service_seconds": 104.5,
}
HISTORY: dict[str, Any] = {
    "responses": {
        200: _reply({"queues": {"workflow_execute": [_MINUTE]}}),
        **errors(problems.QUEUE_NOT_FOUND, problems.INVALID_REQUEST, *_REACHING_REDIS),
    },
}
DEAD_LETTERS: dict[str, Any] = {
    "responses": {
        200: _reply(
            {
                "items": [
                    {
                        **RECORD,
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
    "responses": {200: _reply({"workers": [_WORKER]}), **errors(*_REACHING_REDIS)},
}
DRAIN: dict[str, Any] = {
    "responses": {
        200: _reply({"id": "worker-7f9c-1-5d2e", "draining": True}),
        **errors(problems.WORKER_NOT_FOUND, *_REACHING_REDIS),
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

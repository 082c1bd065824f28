"""What the OpenAPI document says about live streams and bulk operations."""

from __future__ import annotations

from typing import Any

from headrace.contract import BulkDryRun, BulkReply, problems
from headrace_api.http.bodies import BulkBody
from headrace_api.http.sse import EventStream
from headrace_api.routes import many_examples as examples
from headrace_api.routes.describing import KEY, REACHING_REDIS, body, errors, reply

_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that was seen: the stream goes on behind it.",
    "schema": {"type": "string"},
}


def _stream(example: str, description: str) -> dict[str, Any]:
    content = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    return {"description": description, "content": content}


TASK_LIVE: dict[str, Any] = {
    "status_code": 200,
    "response_class": EventStream,
    "responses": {
        200: _stream(examples.TASK_EVENTS, "Events `state`, `progress` and, at last, `end`"),
        204: {"description": "The end was seen already: nothing more comes"},
        **errors(problems.TASK_NOT_FOUND, problems.STREAMS_BUSY, *REACHING_REDIS),
    },
    "openapi_extra": {"parameters": [_LAST_EVENT]},
}
LIVE: dict[str, Any] = {
    "status_code": 200,
    "response_class": EventStream,
    "responses": {
        200: _stream(
            examples.LIVE_EVENTS, "Each second `stats` or `unavailable`; and `ends`, `gap`"
        ),
        **errors(problems.QUEUE_DISABLED, problems.STREAMS_BUSY, problems.INVALID_REQUEST),
    },
    "openapi_extra": {"parameters": [_LAST_EVENT]},
}
BULK_START: dict[str, Any] = {
    "status_code": 202,
    "response_model": BulkReply,
    "responses": {
        200: {"model": BulkDryRun, **reply(examples.BULK_DRY_RUN, "With `dry_run=true`")},
        202: reply(examples.BULK, "It began"),
        **errors(
            problems.MALFORMED_JSON,
            problems.BODY_TOO_LARGE,
            problems.UNSUPPORTED_MEDIA_TYPE,
            problems.INVALID_REQUEST,
            problems.IDEMPOTENCY_CONFLICT,
            problems.QUEUE_DISABLED,
            problems.QUEUE_OUT_OF_MEMORY,
            problems.BULK_BUSY,
            *REACHING_REDIS,
        ),
    },
    "openapi_extra": {
        "parameters": [KEY],
        "requestBody": body(BulkBody, examples.BULK_BODIES, required=True),
    },
}
BULKS: dict[str, Any] = {
    "responses": {
        200: reply({"bulk": [examples.BULK]}),
        **errors(problems.INVALID_REQUEST, *REACHING_REDIS),
    },
}
BULK: dict[str, Any] = {
    "responses": {
        200: reply(examples.BULK_DETAIL),
        **errors(problems.BULK_NOT_FOUND, *REACHING_REDIS),
    },
}
BULK_MARK: dict[str, Any] = {
    "responses": {
        200: reply(examples.BULK),
        **errors(problems.BULK_NOT_FOUND, problems.QUEUE_DISABLED, *REACHING_REDIS),
    },
}

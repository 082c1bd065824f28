"""Every error of the API as RFC 9457 problem+json: one table of types, one place that renders.

A problem's `type` is stable: clients may branch on it. Titles and details are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from headrace.taskqueue import (
    IdempotencyConflict,
    LayoutTooNew,
    NotAllowed,
    OutOfMemory,
    PayloadTooLarge,
    QueueError,
    QueueFull,
    QueueUnavailable,
    TaskNotFound,
    WorkerNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:headrace:problem:"


@dataclass(frozen=True)
class ProblemType:
    """One kind of error: its stable name, its HTTP status, and a title for people."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The problem's `type`."""
        return TYPE_PREFIX + self.slug


ALL: dict[str, ProblemType] = {}
"""Every type by its slug, in the order of the documentation's table."""


def _type(slug: str, status: int, title: str) -> ProblemType:
    ALL[slug] = ProblemType(slug, status, title)
    return ALL[slug]


BAD_REQUEST = _type("bad-request", 400, "The request is not valid HTTP")
MALFORMED_JSON = _type("malformed-json", 400, "The body is not valid JSON")
UNAUTHORIZED = _type("unauthorized", 401, "An API key is needed")
FORBIDDEN = _type("forbidden", 403, "The API key's role does not allow this")
CROSS_SITE = _type("cross-site", 403, "A page of another site may not do this")
ROUTE_NOT_FOUND = _type("route-not-found", 404, "There is nothing at this address")
TASK_NOT_FOUND = _type("task-not-found", 404, "There is no such task")
WORKFLOW_NOT_FOUND = _type("workflow-not-found", 404, "There is no such workflow")
QUEUE_NOT_FOUND = _type("queue-not-found", 404, "There is no such queue")
WORKER_NOT_FOUND = _type("worker-not-found", 404, "There is no such worker")
METHOD_NOT_ALLOWED = _type("method-not-allowed", 405, "This address does not take this method")
REQUEST_TIMEOUT = _type("request-timeout", 408, "The request took too long to arrive")
NOT_ALLOWED = _type("not-allowed", 409, "The task's state does not allow this")
TASK_RUNNING = _type("task-running", 409, "The task is running already")
IDEMPOTENCY_CONFLICT = _type(
    "idempotency-conflict", 409, "The idempotency key was used for something else"
)
WORKFLOW_BROKEN = _type("workflow-broken", 409, "The workflow's definition cannot be used")
BODY_TOO_LARGE = _type("body-too-large", 413, "The request's body is too large")
PAYLOAD_TOO_LARGE = _type("payload-too-large", 413, "The task's payload is too large")
UNSUPPORTED_MEDIA_TYPE = _type("unsupported-media-type", 415, "The body must be JSON")
INVALID_REQUEST = _type("invalid-request", 422, "The request has invalid values")
INVALID_PAYLOAD = _type("invalid-payload", 422, "The payload does not fit the task type")
HEAD_TOO_LARGE = _type("head-too-large", 431, "The request's head is too large")
INTERNAL_ERROR = _type("internal-error", 500, "Something went wrong on the server")
TASK_TYPE_UNKNOWN = _type("task-type-unknown", 501, "No worker and no handler has this task type")
TRANSFER_ENCODING_UNKNOWN = _type(
    "transfer-encoding-unknown", 501, "The request's body is sent in a way that is not understood"
)
QUEUE_UNAVAILABLE = _type("queue-unavailable", 503, "The queue cannot be reached now")
QUEUE_DISABLED = _type("queue-disabled", 503, "The queue is switched off")
QUEUE_FULL = _type("queue-full", 503, "The queue is full")
QUEUE_OUT_OF_MEMORY = _type("queue-out-of-memory", 503, "The queue has no memory left")
UPGRADE_NEEDED = _type("upgrade-needed", 503, "This API is older than the data in Redis")
SUBMIT_UNCONFIRMED = _type("submit-unconfirmed", 503, "Whether the task was queued is not known")
INLINE_BUSY = _type("inline-busy", 503, "Too many tasks run inside requests already")
TOO_MANY_CONNECTIONS = _type("too-many-connections", 503, "Too many connections are open")
HTTP_ERROR = _type("http-error", 500, "The request cannot be served")


class Problem(Exception):
    """Raised anywhere in a request; answered as problem+json.

    `extensions` stand beside the standard members in the body.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(retry_after_seconds)
        self.extensions = extensions
        self.status = kind.status

    def body(self, instance: str, request_id: str) -> bytes:
        """The JSON document: RFC 9457's members first, then ours."""
        return msgspec.json.encode(
            {
                "type": self.kind.uri,
                "title": self.kind.title,
                "status": self.status,
                "detail": self.detail,
                "instance": instance,
                "request_id": request_id,
                **self.extensions,
            }
        )

    def response(self, instance: str, request_id: str) -> Response:
        """The whole reply."""
        return Response(
            self.body(instance, request_id),
            status_code=self.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


class PlainHttpProblem(Problem):
    """An HTTP status that has no type of its own here."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None) -> None:
        super().__init__(HTTP_ERROR, detail, headers=headers)
        self.status = status


def internal_error() -> Problem:
    """The 500 problem: it says nothing of the cause, which stands in the log."""
    return Problem(INTERNAL_ERROR, "the cause was logged under this request's id")


RETRY_AFTER_SECONDS = 1
"""The circuit to Redis is tried again at least this often: see availability.py."""

BUSY_RETRY_AFTER_SECONDS = 5
"""A full queue, a full Redis and busy inline slots take longer to clear."""


def problem_of(error: QueueError) -> Problem:
    """What an error of the queue is over HTTP. An error without a row here is a 500."""
    match error:
        case TaskNotFound():
            return Problem(TASK_NOT_FOUND, str(error), task_id=error.task_id)
        case WorkerNotFound():
            return Problem(WORKER_NOT_FOUND, str(error), worker_id=error.worker_id)
        case NotAllowed():
            return Problem(
                NOT_ALLOWED, str(error), task_id=error.task_id, task_status=str(error.status)
            )
        case IdempotencyConflict():
            return Problem(IDEMPOTENCY_CONFLICT, str(error), task_id=error.task_id)
        case PayloadTooLarge():
            return Problem(PAYLOAD_TOO_LARGE, str(error), max_bytes=error.max_bytes)
        case QueueFull():
            return Problem(QUEUE_FULL, str(error), retry_after_seconds=BUSY_RETRY_AFTER_SECONDS)
        case OutOfMemory():
            return Problem(
                QUEUE_OUT_OF_MEMORY, str(error), retry_after_seconds=BUSY_RETRY_AFTER_SECONDS
            )
        case LayoutTooNew():
            return Problem(UPGRADE_NEEDED, str(error), retry_after_seconds=BUSY_RETRY_AFTER_SECONDS)
        case QueueUnavailable():
            return Problem(
                QUEUE_UNAVAILABLE,
                "Redis cannot be reached now: try again",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        case _:
            return internal_error()

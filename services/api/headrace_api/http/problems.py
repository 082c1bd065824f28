"""An error of a request, and how it is answered: as RFC 9457 problem+json.

The table of types is in `headrace.contract.problems`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from headrace.contract.problems import (
    BULK_BUSY,
    BULK_NOT_FOUND,
    HTTP_ERROR,
    IDEMPOTENCY_CONFLICT,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    MEDIA_TYPE,
    NOT_ALLOWED,
    PAYLOAD_TOO_LARGE,
    QUEUE_FULL,
    QUEUE_OUT_OF_MEMORY,
    QUEUE_UNAVAILABLE,
    TASK_NOT_FOUND,
    UPGRADE_IN_PROGRESS,
    UPGRADE_NEEDED,
    WORKER_NOT_FOUND,
    ProblemType,
)
from headrace.taskqueue import (
    BulkNotFound,
    FilterInvalid,
    IdempotencyConflict,
    LayoutTooNew,
    NotAllowed,
    OutOfMemory,
    PayloadTooLarge,
    QueueError,
    QueueFull,
    QueueUnavailable,
    TaskNotFound,
    TooManyBulks,
    UpgradeInProgress,
    WorkerNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


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
"""The circuit to Redis is retried at least this often: see availability.py."""

BUSY_RETRY_AFTER_SECONDS = 5
"""A full queue, a full Redis and busy inline slots take longer to clear."""


def problem_of(error: QueueError) -> Problem:
    """What an error of the queue is over HTTP. An error without a row here is a 500."""
    match error:
        case TaskNotFound():
            return Problem(TASK_NOT_FOUND, str(error), task_id=error.task_id)
        case FilterInvalid():
            errors = [{"detail": error.reason, "parameter": error.parameter}]
            return Problem(INVALID_REQUEST, str(error), errors=errors)
        case BulkNotFound():
            return Problem(BULK_NOT_FOUND, str(error), bulk_id=error.bulk_id)
        case TooManyBulks():
            return Problem(BULK_BUSY, str(error), retry_after_seconds=BUSY_RETRY_AFTER_SECONDS)
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
        case UpgradeInProgress():
            return Problem(
                UPGRADE_IN_PROGRESS, str(error), retry_after_seconds=BUSY_RETRY_AFTER_SECONDS
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

"""Every kind of error of the API (RFC 9457): one table of types, and the reply's form.

A problem's `type` is stable: clients may branch on it. Titles and details are for people.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from headrace.contract.replies import Reply

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
BULK_NOT_FOUND = _type("bulk-not-found", 404, "There is no such bulk operation")
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
UPGRADE_IN_PROGRESS = _type(
    "upgrade-in-progress", 503, "A worker that still runs is too old for this task"
)
UPGRADE_NEEDED = _type("upgrade-needed", 503, "This API is older than the data in Redis")
SUBMIT_UNCONFIRMED = _type("submit-unconfirmed", 503, "Whether the task was queued is not known")
INLINE_BUSY = _type("inline-busy", 503, "Too many tasks run inside requests already")
WAITS_BUSY = _type("waits-busy", 503, "Too many requests wait for tasks already")
STREAMS_BUSY = _type("streams-busy", 503, "Too many live streams are open already")
BULK_BUSY = _type("bulk-busy", 503, "Too many bulk operations are worked on already")
TOO_MANY_CONNECTIONS = _type("too-many-connections", 503, "Too many connections are open")
HTTP_ERROR = _type("http-error", 500, "The request cannot be served")


class ErrorItem(Reply):
    """One thing that is wrong with a request."""

    detail: str
    pointer: str | None = None
    """The place in the body, as a JSON pointer; absent for a parameter."""
    parameter: str | None = None
    """The query parameter or header; absent for a place in the body."""


class ProblemReply(Reply):
    """An error (RFC 9457). Some types add members of their own, such as `task_id`."""

    type: str = Field(examples=["urn:headrace:problem:task-not-found"])
    """Stable: clients may rely on it."""
    title: str
    status: int
    detail: str
    instance: str
    """The request's path."""
    request_id: str
    """The same as in the header `X-Request-ID`, and in the logs."""
    errors: list[ErrorItem] | None = None
    """The mistakes in the request, each with its place."""

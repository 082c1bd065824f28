"""Every error that the client raises, in one tree.

HeadraceError
├── ApiError                 the API refused a request; it has a class below for each problem type
├── Unavailable              no usable answer for 30 s; each ApiError that passes is one
├── UnexpectedReply          what answered is no API of Headrace
├── WaitTimeout              the wait ended before the task; the task goes on
├── TaskFailed               the task ended in `failed`
├── TaskCancelled            the task ended in `cancelled`
├── ResultInvalid            the result does not fit the handler's return type
├── ResultHidden             the API key may not see the result (HIDE_PAYLOADS)
├── NotSupported             a client of Redis cannot do it: it needs the API
└── ConfigInvalid            the address, the key or the profile cannot be used

An error never holds an API key or a password.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ValidationError

from headrace.contract import problems
from headrace.contract.problems import ProblemReply, ProblemType
from headrace.contract.tasks import AttemptReply, TaskReply


class HeadraceError(Exception):
    """Whatever goes wrong between a program and Headrace."""


class ConfigInvalid(HeadraceError, ValueError):
    """The address, the API key or the profile cannot be used."""


class NotSupported(HeadraceError):
    """A client that speaks to Redis directly cannot do it."""


class Unavailable(HeadraceError):
    """There was no usable answer, also not after retries.

    Attributes:
        not_done: whether the request provably had no effect.
        retry_after: how many seconds the server asks to wait; None: it did not say.
    """

    def __init__(
        self, message: str, *, not_done: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.not_done = not_done
        self.retry_after = retry_after


class UnexpectedReply(HeadraceError):
    """Something answered that is no API of Headrace."""


class ResultInvalid(HeadraceError):
    """A task's result does not fit the return type of the handler that it was submitted by."""

    def __init__(self, task: TaskReply, error: ValidationError) -> None:
        places = error.errors(include_url=False, include_context=False, include_input=False)
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc'])) or 'it'}: {mistake['msg']}" for mistake in places
        )
        super().__init__(
            f"the result of task {task.task_id} does not fit the return type of the handler of "
            f"{task.type!r} ({mistakes}): the worker may have another version of it"
        )
        self.task = task


class ResultHidden(HeadraceError):
    """A task is completed, and its result is not for this API key."""

    def __init__(self, task: TaskReply) -> None:
        super().__init__(
            f"the result of task {task.task_id} is hidden from this API key (HIDE_PAYLOADS): use "
            "the key that submitted it, or one with the role manager"
        )
        self.task = task


class WaitTimeout(HeadraceError, TimeoutError):
    """The wait ended before the task did. The task goes on: nothing is cancelled."""

    def __init__(self, task_ids: list[str], timeout: float) -> None:
        many = f"{len(task_ids)} tasks have" if len(task_ids) > 1 else f"task {task_ids[0]} has"
        super().__init__(f"{many} not ended within {timeout:g} s, and may still end: wait again")
        self.task_ids = task_ids
        """Those that had not ended."""


class TaskFailed(HeadraceError):
    """A task ended in `failed`.

    Attributes:
        task: its record.
        error_type: the class of the last attempt's error, such as `ValueError`; None: not known.
        message: what the record says of the error.
        traceback: of the last attempt, at most 8 KiB; None: not kept.
    """

    def __init__(self, task: TaskReply, last_attempt: AttemptReply | None = None) -> None:
        self.task = task
        self.message = task.error or "it failed"
        self.error_type = last_attempt and last_attempt.error_type
        self.traceback = last_attempt and last_attempt.traceback
        super().__init__(f"task {task.task_id} ({task.type}) failed: {self.message}")


class TaskCancelled(HeadraceError):
    """A task ended in `cancelled`."""

    def __init__(self, task: TaskReply) -> None:
        self.task = task
        super().__init__(f"task {task.task_id} ({task.type}) was cancelled")


BY_SLUG: dict[str, type[ApiError]] = {}
"""The class of each problem type."""


class ApiError(HeadraceError):
    """The API refused a request. `str()` of it is the problem's `detail`.

    Attributes:
        problem: the reply (RFC 9457), with members of its own such as `task_id`.
        retry_after: how many seconds the server asks to wait; None: it did not say.
    """

    kind: ClassVar[ProblemType | None] = None
    """The problem type; None: this client is too old to know it."""

    def __init_subclass__(cls, kind: ProblemType | None = None) -> None:
        cls.kind = kind
        if kind is not None:
            BY_SLUG[kind.slug] = cls

    def __init__(self, problem: ProblemReply, *, retry_after: float | None = None) -> None:
        mistakes = [
            f"{it.pointer or it.parameter or 'the body'}: {it.detail}"
            for it in problem.errors or ()
            if it.detail not in problem.detail
        ]
        HeadraceError.__init__(self, "; ".join([problem.detail, *mistakes]))
        self.problem = problem
        self.retry_after = retry_after
        self.not_done = self.kind is not problems.SUBMIT_UNCONFIRMED

    def member(self, name: str) -> Any:
        """A member that the problem has beside the standard ones; None: it has none so named."""
        return (self.problem.model_extra or {}).get(name)


class _Passing(ApiError, Unavailable):
    """A problem that passes by itself: the request is sent again, for 30 s."""


def problem_reply(kind: ProblemType, detail: str, **members: str) -> ProblemReply:
    """A problem that no API has sent."""
    return ProblemReply.model_validate(
        {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": detail,
            "instance": "",
            "request_id": "",
            **members,
        }
    )


def api_error(problem: ProblemReply, retry_after: float | None = None) -> ApiError:
    """The error of a problem, of the class of its type."""
    cls = BY_SLUG.get(problem.type.removeprefix(problems.TYPE_PREFIX), ApiError)
    return cls(problem, retry_after=retry_after)


class BadRequest(ApiError, kind=problems.BAD_REQUEST):
    """The request is not valid HTTP."""


class MalformedJson(ApiError, kind=problems.MALFORMED_JSON):
    """The body is not valid JSON."""


class Unauthorized(ApiError, kind=problems.UNAUTHORIZED):
    """An API key is needed."""


class Forbidden(ApiError, kind=problems.FORBIDDEN):
    """The API key's role does not allow this."""


class CrossSite(ApiError, kind=problems.CROSS_SITE):
    """A page of another site may not do this."""


class RouteNotFound(ApiError, kind=problems.ROUTE_NOT_FOUND):
    """There is nothing at this address."""


class TaskNotFound(ApiError, kind=problems.TASK_NOT_FOUND):
    """There is no such task."""


class WorkflowNotFound(ApiError, kind=problems.WORKFLOW_NOT_FOUND):
    """There is no such workflow."""


class QueueNotFound(ApiError, kind=problems.QUEUE_NOT_FOUND):
    """There is no such queue."""


class WorkerNotFound(ApiError, kind=problems.WORKER_NOT_FOUND):
    """There is no such worker."""


class BulkNotFound(ApiError, kind=problems.BULK_NOT_FOUND):
    """There is no such bulk operation."""


class MethodNotAllowed(ApiError, kind=problems.METHOD_NOT_ALLOWED):
    """The address does not take this method."""


class RequestTimeout(ApiError, kind=problems.REQUEST_TIMEOUT):
    """The request took too long to arrive."""


class NotAllowed(ApiError, kind=problems.NOT_ALLOWED):
    """The task's state does not allow this."""


class TaskRunning(ApiError, kind=problems.TASK_RUNNING):
    """The task is running already."""


class IdempotencyConflict(ApiError, kind=problems.IDEMPOTENCY_CONFLICT):
    """The idempotency key was used for something else."""


class WorkflowBroken(ApiError, kind=problems.WORKFLOW_BROKEN):
    """The workflow's definition cannot be used."""


class BodyTooLarge(ApiError, kind=problems.BODY_TOO_LARGE):
    """The request's body is too large."""


class PayloadTooLarge(ApiError, kind=problems.PAYLOAD_TOO_LARGE):
    """The task's payload is too large."""


class UnsupportedMediaType(ApiError, kind=problems.UNSUPPORTED_MEDIA_TYPE):
    """The body must be JSON."""


class InvalidRequest(ApiError, kind=problems.INVALID_REQUEST):
    """The request has invalid values."""


class InvalidPayload(ApiError, kind=problems.INVALID_PAYLOAD):
    """The payload does not fit the task type."""


class HeadTooLarge(ApiError, kind=problems.HEAD_TOO_LARGE):
    """The request's head is too large."""


class InternalError(ApiError, kind=problems.INTERNAL_ERROR):
    """Something went wrong on the server."""


class TaskTypeUnknown(ApiError, kind=problems.TASK_TYPE_UNKNOWN):
    """No worker and no handler has this task type."""


class TransferEncodingUnknown(ApiError, kind=problems.TRANSFER_ENCODING_UNKNOWN):
    """The request's body is sent in a way that is not understood."""


class QueueUnavailable(_Passing, kind=problems.QUEUE_UNAVAILABLE):
    """The queue cannot be reached now."""


class QueueDisabled(ApiError, kind=problems.QUEUE_DISABLED):
    """The queue is switched off."""


class QueueFull(_Passing, kind=problems.QUEUE_FULL):
    """The queue is full."""


class QueueOutOfMemory(_Passing, kind=problems.QUEUE_OUT_OF_MEMORY):
    """The queue has no memory left."""


class UpgradeInProgress(_Passing, kind=problems.UPGRADE_IN_PROGRESS):
    """A worker that still runs is too old for this task."""


class UpgradeNeeded(_Passing, kind=problems.UPGRADE_NEEDED):
    """The API is older than the data in Redis."""


class SubmitUnconfirmed(_Passing, kind=problems.SUBMIT_UNCONFIRMED):
    """Whether the task was queued is not known."""


class InlineBusy(_Passing, kind=problems.INLINE_BUSY):
    """Too many tasks run inside requests already."""


class StreamsBusy(_Passing, kind=problems.STREAMS_BUSY):
    """Too many live streams are open at the API."""


class BulkBusy(_Passing, kind=problems.BULK_BUSY):
    """Too many bulk operations are worked on already."""


class WaitsBusy(_Passing, kind=problems.WAITS_BUSY):
    """Too many requests wait for tasks already."""


class TooManyConnections(_Passing, kind=problems.TOO_MANY_CONNECTIONS):
    """Too many connections are open."""


class HttpError(ApiError, kind=problems.HTTP_ERROR):
    """The request cannot be served."""

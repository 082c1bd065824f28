"""Each call of the client that speaks to Redis directly. Pure: see steps.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from headrace.client.asks import Ask, TaskFilters, filter_fields
from headrace.client.calls import (
    AFTER_CANCEL,
    AFTER_RETRY,
    Accepted,
    Ended,
    batch_keys,
    batches,
    moved,
)
from headrace.client.errors import (
    ApiError,
    NotSupported,
    Unavailable,
    WaitTimeout,
    api_error,
    problem_reply,
)
from headrace.client.records import task_detail, task_summary
from headrace.client.retries import repeated
from headrace.client.steps import Ends, Program, QueueCall, Rules, Step
from headrace.client.submissions import Options
from headrace.contract import Reply, TaskDetail, TaskListReply, TaskReply, problems
from headrace.contract.problems import ProblemType
from headrace.status import TaskStatus
from headrace.taskqueue import (
    FilterInvalid,
    IdempotencyConflict,
    LayoutTooNew,
    NewTask,
    NotAllowed,
    NotSent,
    OutOfMemory,
    PayloadTooLarge,
    QueueError,
    QueueFull,
    QueueUnavailable,
    TaskFilter,
    TaskInvalid,
    TaskNotFound,
    UpgradeInProgress,
    WorkerNotFound,
    idempotent_id,
    new_id,
)

R = TypeVar("R", bound=Reply)

HOLD_SECONDS = 30.0
"""A wait looks so often whether its time is over."""
MAX_READ = 100
"""So many records are read at once: they have payloads."""

KINDS: dict[type[QueueError], ProblemType] = {
    TaskNotFound: problems.TASK_NOT_FOUND,
    WorkerNotFound: problems.WORKER_NOT_FOUND,
    NotAllowed: problems.NOT_ALLOWED,
    IdempotencyConflict: problems.IDEMPOTENCY_CONFLICT,
    PayloadTooLarge: problems.PAYLOAD_TOO_LARGE,
    FilterInvalid: problems.INVALID_REQUEST,
    TaskInvalid: problems.INVALID_REQUEST,
    QueueFull: problems.QUEUE_FULL,
    OutOfMemory: problems.QUEUE_OUT_OF_MEMORY,
    UpgradeInProgress: problems.UPGRADE_IN_PROGRESS,
    LayoutTooNew: problems.UPGRADE_NEEDED,
}
"""The problem type of each of the queue's errors: as the API answers. The others have none."""


class RedisCalls:
    """The calls of a client that speaks to Redis, as programs."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def submit(self, task_type: str, payload: bytes, options: Options) -> Program[Accepted]:
        """Submit a task: once, however often it has to be sent."""
        keys = [] if options.key is None else [options.key]
        [task] = _new_tasks(task_type, [payload], options, keys)
        submitted = yield from self._repeated(QueueCall("submit", (task,)))
        return Accepted(submitted.id)

    def submit_many(
        self, task_type: str, payloads: Sequence[bytes], options: Options
    ) -> Program[list[Accepted]]:
        """Submit tasks of a type, in batches of up to 1000 that are taken in as a whole."""
        accepted: list[Accepted] = []
        for number, batch in enumerate(batches(payloads)):
            keys = batch_keys(options.key, number, len(batch))
            tasks = _new_tasks(task_type, batch, options, keys)
            submitted = yield from self._repeated(QueueCall("submit_many", (tasks,)))
            accepted += [Accepted(task.id) for task in submitted]
        return accepted

    def execute(
        self, workflow_id: str, variables: Mapping[str, Any], options: Options
    ) -> Program[Accepted]:
        """Not possible: it is the API that has the definitions."""
        raise NotSupported(
            "a workflow is executed by the API, which has the definitions: take a client of its "
            "URL, as in Client('http://127.0.0.1:8000')"
        )

    def get(self, task_id: str, include: Sequence[str] = ()) -> Program[TaskDetail]:
        """A task's record."""
        task = yield from self._repeated(QueueCall("get", (task_id.lower(),)))
        attempts = None
        if "attempts" in include:
            attempts = yield from self._repeated(QueueCall("attempts", (task_id.lower(),)))
        detail = task_detail(task, None, attempts)
        if "payload" in include:
            detail = detail.model_copy(update={"payload": msgspec.json.decode(task.payload)})
        return detail

    def cancel(self, task_id: str, *, running: bool) -> Program[TaskStatus]:
        """Cancel a task, or ask a running one to stop."""
        call = QueueCall("cancel", (task_id.lower(),), {"running": running})
        return moved(lambda: _checked(call), AFTER_CANCEL, self.rules)

    def retry(self, task_id: str) -> Program[TaskStatus]:
        """Queue a failed or cancelled task again."""
        call = QueueCall("retry", (task_id.lower(),))
        return moved(lambda: _checked(call), AFTER_RETRY, self.rules)

    def run_now(self, task_id: str) -> Program[TaskStatus]:
        """Queue a pending task before its time."""
        call = QueueCall("run_now", (task_id.lower(),))
        return moved(lambda: _checked(call), AFTER_RETRY, self.rules)

    def delete(self, task_id: str) -> Program[None]:
        """Remove a task that has ended."""
        yield from self._repeated(QueueCall("delete", (task_id.lower(),)))

    def list_tasks(
        self, filters: TaskFilters, cursor: str | None, limit: int
    ) -> Program[TaskListReply]:
        """A page of the list."""
        try:
            wanted = msgspec.convert(filter_fields(filters), TaskFilter)
        except msgspec.ValidationError as error:
            raise ValueError(f"these are no filters: {error}") from None
        call = QueueCall("list_tasks", (wanted,), {"cursor": cursor, "limit": limit})
        page = yield from self._repeated(call)
        return TaskListReply(
            items=[task_summary(task, None) for task in page.tasks],
            scanned=page.scanned,
            complete=page.complete,
            next_cursor=page.cursor,
        )

    def ask(self, ask: Ask[R]) -> Program[R]:
        """Not possible: only the API knows."""
        raise NotSupported(
            f"{ask.request.method} {ask.request.path} needs the API: take a client of its URL, as "
            "in Client('http://127.0.0.1:8000')"
        )

    def wait(self, task_id: str, timeout: float | None) -> Program[TaskReply]:
        """Wait until a task has ended. Raises WaitTimeout, which cancels nothing."""
        yield from self._ended([task_id], timeout)
        return (yield from self.get(task_id))

    def wait_any(self, task_ids: Sequence[str], timeout: float | None) -> Program[Ended]:
        """Wait until at least one of these tasks has ended. Raises WaitTimeout."""
        ends = yield from self._ended(task_ids, timeout)
        gone = [task_id for task_id, status in ends.items() if status is None]
        there = [task_id for task_id, status in ends.items() if status is not None]
        tasks = yield from self._repeated(QueueCall("get_many", (there[:MAX_READ],)))
        return Ended([task_detail(task, None, None) for task in tasks if task is not None], gone)

    def _ended(
        self, task_ids: Sequence[str], timeout: float | None
    ) -> Program[dict[str, TaskStatus | None]]:
        ends_at = math.inf if timeout is None else self.rules.clock() + timeout
        while True:
            left = ends_at - self.rules.clock()
            step = Ends(tuple(task_ids), max(min(HOLD_SECONDS, left), 0.0))
            ends: dict[str, TaskStatus | None] = yield from self._repeated(step)
            if ends:
                return ends
            if self.rules.clock() >= ends_at:
                raise WaitTimeout(list(task_ids), timeout or 0.0)

    def _repeated(self, step: Step) -> Program[Any]:
        return repeated(lambda: _checked(step), self.rules)


def _checked(step: Step) -> Program[Any]:
    """One step; the queue's errors as the API answers them."""
    try:
        return (yield step)
    except QueueUnavailable as error:
        raise Unavailable(str(error), not_done=isinstance(error, NotSent)) from None
    except QueueError as error:
        raise as_api_error(error) or error from None


def as_api_error(error: QueueError) -> ApiError | None:
    """One of the queue's errors as the API answers it; None: that is a bug, on either side."""
    kind = KINDS.get(type(error))
    if kind is None:
        return None
    members: dict[str, str] = {}
    if isinstance(error, TaskNotFound | NotAllowed | IdempotencyConflict):
        members["task_id"] = error.task_id
    if isinstance(error, NotAllowed):
        members["task_status"] = str(error.status)
    return api_error(problem_reply(kind, str(error), **members))


def _new_tasks(
    task_type: str, payloads: Sequence[bytes], options: Options, keys: Sequence[str]
) -> list[NewTask]:
    if options.inline:
        raise NotSupported('fallback="inline" needs the API: Redis runs nothing')
    start_at, start_in_ms = options.start_at, None
    if options.start_in is not None:
        start_at = datetime.now(UTC) + timedelta(seconds=options.start_in)
        start_in_ms = int(options.start_in * 1000)
    ids = [idempotent_id(task_type, key) for key in keys] or [new_id() for _ in payloads]
    return [
        NewTask(
            type=task_type,
            payload=payload,
            payload_is_json=True,
            id=task_id,
            max_retries=options.default_retries
            if options.max_retries is None
            else options.max_retries,
            start_at=start_at,
            start_in_ms=start_in_ms,
            headers=dict(options.headers or {}),
            tags=options.tags,
        )
        for task_id, payload in zip(ids, payloads, strict=True)
    ]

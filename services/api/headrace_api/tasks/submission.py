"""From a checked request to a task: into the queue, or run inside the request.

The rules are those of the queue's fallback: inside the request only when the submit was provably
not sent. After an ambiguous time-out the same id is sent once more, then the reply is a 503 that
names the task. A request with an idempotency key or an id of its own never runs inside a request
without Redis, and neither does one whose start lies ahead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import msgspec

from headrace.contract.problems import QUEUE_DISABLED, QUEUE_UNAVAILABLE, SUBMIT_UNCONFIRMED
from headrace.logs import get_logger
from headrace.taskqueue import (
    IdempotencyConflict,
    NewTask,
    NoReply,
    NotConfirmed,
    NotSent,
    PayloadTooLarge,
    QueueError,
    QueueUnavailable,
    Submitted,
    Task,
    TaskNotFound,
    TaskStatus,
)
from headrace_api.http.problems import RETRY_AFTER_SECONDS, Problem
from headrace_api.tasks.availability import decide_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headrace.taskqueue import TaskQueue
    from headrace_api.tasks.availability import Availability
    from headrace_api.tasks.inline import InlineRunner
    from headrace_api.tasks.task_types import TaskTypeEntry

log = get_logger(__name__)

T = TypeVar("T")

_KEYED = "a request with an Idempotency-Key or a task_id needs the queue to keep it"


@dataclass(frozen=True)
class Admission:
    """What a request asks to be queued: a task, its payload checked."""

    task: NewTask
    task_type: TaskTypeEntry
    keyed: bool = False
    """Whether the caller chose its id, so that the request may be sent again."""
    by: float = field(default_factory=decide_by)
    """When it must be decided, by the event loop's clock."""


@dataclass(frozen=True)
class InlineRun:
    """A task that was run inside the request, or has ended before under the same key."""

    task: Task
    stored: bool
    earlier: bool = False
    """It is an earlier request's, maybe another API key's."""


class Submission:
    """Takes tasks in. `queue` is None when it is switched off."""

    def __init__(
        self,
        queue: TaskQueue | None,
        availability: Availability,
        inline: InlineRunner,
        max_payload_bytes: int,
    ) -> None:
        self._queue = queue
        self._max_payload_bytes = max_payload_bytes
        self._availability = availability
        self._inline = inline
        self._key_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def enqueue(self, admission: Admission) -> Submitted | InlineRun:
        """Into the queue; inside the request when it provably did not get there.

        Of an id that the caller chose, it waits until a run of it inside another request has
        ended. Raises Problem and QueueError.
        """
        if not admission.keyed:
            return await self._enqueue(admission, admission.by)
        lock = self._key_lock(admission)
        has_to_wait = lock.locked()
        async with lock:
            return await self._enqueue(admission, decide_by() if has_to_wait else admission.by)

    async def _enqueue(self, admission: Admission, by: float) -> Submitted | InlineRun:
        queue, task = self._queue, admission.task
        if queue is not None:
            try:
                submitted = await self._send(lambda: queue.submit(task), by, task_id=task.id)
            except NotSent:
                log.debug("task.not_sent", task_id=task.id, type=task.type)
            else:
                return _noted(task, submitted, keyed=admission.keyed)
        return await self.fall_back(admission)

    async def submit_all(
        self, queue: TaskQueue, tasks: Sequence[NewTask], *, keyed: bool, by: float
    ) -> list[Submitted]:
        """All of them into the queue, or none; never inside the request. Raises as `enqueue`."""
        ids = [task.id for task in tasks]
        submitted = await self._send(lambda: queue.submit_many(tasks), by, task_ids=ids)
        pairs = zip(tasks, submitted, strict=True)
        return [_noted(task, reply, keyed=keyed) for task, reply in pairs]

    async def _send(self, send: Callable[[], Awaitable[T]], by: float, **named: Any) -> T:
        """Send; after an ambiguous time-out once more, with the same ids: nothing runs twice."""
        self._availability.require()
        ambiguous = False
        try:
            async with asyncio.timeout_at(by):
                try:
                    return await send()
                except NotConfirmed:
                    raise
                except NoReply:
                    ambiguous = True
                    return await send()
        except NotConfirmed:
            # Redis is well: it is its replicas, or its disk, that are late.
            raise _unconfirmed(
                named, "Redis has taken the submit, but its copies did not confirm it in time"
            ) from None
        except (QueueUnavailable, TimeoutError) as error:
            lost = error if isinstance(error, QueueUnavailable) else NoReply("no answer in time")
            self._availability.lost(lost)
            if isinstance(error, NotSent) and not ambiguous:
                raise
            raise _unconfirmed(
                named, "Redis did not confirm the submit, so it may have been carried out or not"
            ) from None

    async def run_inline(self, admission: Admission) -> Submitted | InlineRun:
        """Inside the request, as asked. The record is written once, final, if Redis can be used.

        If the caller chose its id, an earlier task of it is returned and nothing runs. Two such
        requests at the same moment to two API processes are not seen by one another.
        """
        if not admission.keyed:
            return await self._run_and_store(admission)
        queue = self._required_queue()
        task = admission.task
        lock = self._key_lock(admission)
        has_to_wait = lock.locked()
        async with lock:
            by = decide_by() if has_to_wait else admission.by
            try:
                earlier = await self._availability.call(lambda: queue.get(task.id), by)
            except TaskNotFound:
                return await self._run_and_store(admission)
        same = same_payload(earlier.payload, task.payload)
        if not same or earlier.max_retries != task.max_retries:
            raise IdempotencyConflict(task.id)
        if earlier.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
            return InlineRun(earlier, stored=True, earlier=True)
        return Submitted(earlier.id, earlier.status, created=False)

    def _key_lock(self, admission: Admission) -> asyncio.Lock:
        """What requests with the same idempotency key take turns by, in this process."""
        return self._key_locks.setdefault(admission.task.id, asyncio.Lock())

    async def _run_and_store(self, admission: Admission) -> InlineRun:
        task = await self._run(admission)
        return InlineRun(task, await self._store(task))

    async def _store(self, task: Task) -> bool:
        """Whether the record was written; the run itself is done either way.

        It is not if another process has taken a task in under the same key meanwhile.
        """
        queue = self._queue
        if queue is None or not self._availability.usable:
            return False
        try:
            return await self._availability.call(lambda: queue.store_final(task))
        except QueueError as error:
            log.warning("task.not_stored", task_id=task.id, type=task.type, error=str(error))
            return False

    async def fall_back(self, admission: Admission) -> InlineRun:
        """Inside the request because the queue cannot be used; if that is possible at all.

        Only for a task that was provably not submitted. Raises Problem.
        """
        if admission.keyed:
            raise self._no_queue(_KEYED)
        if lies_ahead(admission.task.start_at):
            raise self._no_queue("a task with a start time needs the queue to keep it")
        return InlineRun(await self._run(admission), stored=False)

    async def _run(self, admission: Admission) -> Task:
        if admission.task_type.handler is None:
            raise self._no_queue(
                f"only a worker can run the task type {admission.task.type!r}, and it is reached "
                "through the queue"
            )
        size = len(admission.task.payload)
        if size > self._max_payload_bytes:
            raise PayloadTooLarge(size, self._max_payload_bytes)
        return await self._inline.run(admission.task_type.handler, admission.task)

    def _required_queue(self) -> TaskQueue:
        if self._queue is None:
            raise self._no_queue(_KEYED)
        return self._queue

    def _no_queue(self, reason: str) -> Problem:
        if self._queue is None:
            return Problem(QUEUE_DISABLED, f"{reason}, and QUEUE_ENABLED is false")
        return Problem(
            QUEUE_UNAVAILABLE,
            f"{reason}, and Redis cannot be reached now: try again",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


def lies_ahead(start_at: datetime | None) -> bool:
    """Whether a start time has not come yet."""
    return start_at is not None and start_at > datetime.now(UTC)


def same_payload(first: bytes, second: bytes) -> bool:
    """Whether two payloads of workflows are the same, whatever definition each was pinned to."""
    fields, others = msgspec.json.decode(first), msgspec.json.decode(second)
    if not isinstance(fields, dict) or not isinstance(others, dict):
        return False
    return {**fields, "definition": None} == {**others, "definition": None}


def _noted(task: NewTask, submitted: Submitted, *, keyed: bool) -> Submitted:
    """Log a new task. One whose id was drawn here is new, also if its submit was sent twice."""
    if not keyed and not submitted.created:
        submitted = msgspec.structs.replace(submitted, created=True)
    if submitted.created:
        log.info("task.enqueued", task_id=task.id, type=task.type, status=submitted.status)
    return submitted


def _unconfirmed(named: dict[str, Any], reason: str) -> Problem:
    return Problem(
        SUBMIT_UNCONFIRMED,
        f"{reason}: look the task up under its id before you send the request again",
        retry_after_seconds=RETRY_AFTER_SECONDS,
        **named,
    )

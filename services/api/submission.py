"""From a checked request to a task: into the queue, or run inside the request.

The rules are those of the queue's fallback: inside the request only when the submit was provably
not sent. After an ambiguous time-out the same id is sent once more, then the reply is a 503 that
names the task. A request with an idempotency key never runs inside a request without Redis, and
neither does one whose start lies ahead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from headrace.logs import get_logger
from headrace.taskqueue import (
    IdempotencyConflict,
    NewTask,
    NoReply,
    NotSent,
    OutOfMemory,
    PayloadTooLarge,
    QueueUnavailable,
    Submitted,
    Task,
    TaskNotFound,
    TaskStatus,
)
from services.api.problems import (
    QUEUE_DISABLED,
    QUEUE_UNAVAILABLE,
    RETRY_AFTER_SECONDS,
    SUBMIT_UNCONFIRMED,
    Problem,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.taskqueue import TaskQueue
    from services.api.availability import Availability
    from services.api.inline import InlineRunner
    from services.api.task_types import KnownType

log = get_logger(__name__)

DECIDE_SECONDS = 2.5
"""Every request is answered, or begins to run inline, within this time: below the promised 3 s."""

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A task that was asked for, its payload checked."""

    task: NewTask
    known: KnownType
    keyed: bool = False
    """Whether it came with an idempotency key."""


@dataclass(frozen=True)
class InlineRun:
    """A task that was run inside the request, or has ended before under the same key."""

    task: Task
    stored: bool


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

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Any other call to the queue: fails at once while the circuit is open, and in time.

        Raises QueueError.
        """
        self._availability.require()
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                return await work()
        except QueueUnavailable as error:
            self._availability.lost(error)
            raise
        except TimeoutError:
            late = NoReply(f"Redis did not answer within {DECIDE_SECONDS:g} s")
            self._availability.lost(late)
            raise late from None

    async def enqueue(self, request: Request) -> Submitted | InlineRun:
        """Into the queue; inside the request when it provably did not get there.

        Raises Problem and QueueError.
        """
        if self._queue is not None:
            try:
                return await self.submit(self._queue, request.task)
            except NotSent:
                log.debug("task.not_sent", task_id=request.task.id, type=request.task.type)
        return await self.fall_back(request)

    async def submit(self, queue: TaskQueue, task: NewTask) -> Submitted:
        """Into the queue, or NotSent, or the 503 problem when that is not known."""
        submitted = await self._send(lambda: queue.submit(task), task_id=task.id)
        _log_enqueued(task, submitted)
        return submitted

    async def submit_all(self, queue: TaskQueue, tasks: list[NewTask]) -> list[Submitted]:
        """All of them, or none: as `submit`."""
        ids = [task.id for task in tasks]
        submitted = await self._send(lambda: queue.submit_many(tasks), task_ids=ids)
        for task, one in zip(tasks, submitted, strict=True):
            _log_enqueued(task, one)
        return submitted

    async def _send(self, send: Callable[[], Awaitable[T]], **named: Any) -> T:
        """Send; after an ambiguous time-out once more, with the same ids: nothing runs twice."""
        self._availability.require()
        ambiguous = False
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                try:
                    return await send()
                except NoReply:
                    ambiguous = True
                    return await send()
        except (QueueUnavailable, TimeoutError) as error:
            lost = error if isinstance(error, QueueUnavailable) else NoReply("no answer in time")
            self._availability.lost(lost)
            if isinstance(error, NotSent) and not ambiguous:
                raise
            raise _unconfirmed(named) from None

    async def run_inline(self, request: Request) -> Submitted | InlineRun:
        """Inside the request, as asked. The record is written once, final, if Redis can be used.

        With an idempotency key an earlier task under that key is returned and nothing runs. Two
        such requests at the same moment to two API processes are not seen by one another.
        """
        if not request.keyed:
            return await self._run_and_store(request)
        queue = self._required_queue()
        task_id = request.task.id
        lock = self._key_locks.setdefault(task_id, asyncio.Lock())
        async with lock:
            try:
                earlier = await self.call(lambda: queue.get(task_id))
            except TaskNotFound:
                return await self._run_and_store(request)
        if earlier.payload != request.task.payload:
            raise IdempotencyConflict(task_id)
        return known_before(earlier)

    async def _run_and_store(self, request: Request) -> InlineRun:
        task = await self._run(request)
        return InlineRun(task, await self._store(task))

    async def _store(self, task: Task) -> bool:
        """Whether the record could be written; the run itself is done either way."""
        queue = self._queue
        if queue is None or not self._availability.usable:
            return False
        try:
            await self.call(lambda: queue.store_final(task))
        except (QueueUnavailable, OutOfMemory) as error:
            log.warning("task.not_stored", task_id=task.id, type=task.type, error=str(error))
            return False
        return True

    async def fall_back(self, request: Request) -> InlineRun:
        """Inside the request because the queue cannot be used; if that is possible at all.

        Only for a task that was provably not submitted. Raises Problem.
        """
        if request.keyed:
            raise self._no_queue("a request with an Idempotency-Key needs the queue to keep it")
        if request.task.start_at is not None:
            raise self._no_queue("a task with a start time needs the queue to keep it")
        return InlineRun(await self._run(request), stored=False)

    async def _run(self, request: Request) -> Task:
        if request.known.own is None:
            raise self._no_queue(
                f"only a worker can run the task type {request.task.type!r}, and it is reached "
                "through the queue"
            )
        size = len(request.task.payload)
        if size > self._max_payload_bytes:
            raise PayloadTooLarge(size, self._max_payload_bytes)
        return await self._inline.run(request.known.own, request.task)

    def _required_queue(self) -> TaskQueue:
        if self._queue is None:
            raise self._no_queue("a request with an Idempotency-Key needs the queue to keep it")
        return self._queue

    def _no_queue(self, reason: str) -> Problem:
        if self._queue is None:
            return Problem(QUEUE_DISABLED, f"{reason}, and QUEUE_ENABLED is false")
        return Problem(
            QUEUE_UNAVAILABLE,
            f"{reason}, and Redis cannot be reached now: try again",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


def known_before(earlier: Task) -> Submitted | InlineRun:
    """What a request is answered with whose key stands for an earlier task."""
    if earlier.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
        return InlineRun(earlier, stored=True)
    return Submitted(earlier.id, earlier.status, created=False)


def _log_enqueued(task: NewTask, submitted: Submitted) -> None:
    if submitted.created:
        log.info("task.enqueued", task_id=task.id, type=task.type, status=submitted.status)


def _unconfirmed(named: dict[str, Any]) -> Problem:
    return Problem(
        SUBMIT_UNCONFIRMED,
        "Redis did not confirm the submit, so it may have been carried out or not: look the task "
        "up under its id before you send the request again",
        retry_after_seconds=RETRY_AFTER_SECONDS,
        **named,
    )

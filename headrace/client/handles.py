"""A task that was submitted: look at it, wait for it, get its result, cancel it, retry it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, Unpack

from headrace.client import asks
from headrace.client.asks import TaskChanges
from headrace.client.calls import Accepted, Calls, Ended
from headrace.client.errors import (
    HeadraceError,
    ResultHidden,
    TaskCancelled,
    TaskFailed,
    WaitTimeout,
)
from headrace.client.steps import AsyncRunner, Program, Runner
from headrace.client.submissions import Read
from headrace.contract import TaskDetail, TaskReply, WhyReply
from headrace.status import TaskStatus

R_co = TypeVar("R_co", covariant=True)
H = TypeVar("H", bound="_Handle[Any]")

LOOK_SECONDS = 1.0
"""`live` looks so often whether something has changed."""


def _shown(task: TaskDetail) -> tuple[object, ...]:
    """What `live` compares."""
    return task.status, task.attempt, task.progress


class _Handle(Generic[R_co]):
    """What both kinds of handles are."""

    def __init__(self, calls: Calls, accepted: Accepted, read: Read) -> None:
        self.id = accepted.task_id
        """The task's id."""
        self._calls = calls
        self._read = read
        self._final = accepted.record
        """Its record, once it is seen to have ended."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def _ended(self, timeout: float | None) -> Program[TaskReply]:
        if self._final is None:
            self._final = yield from self._calls.wait(self.id, timeout)
        return self._final

    def _result(self, timeout: float | None) -> Program[Any]:
        task = yield from self._ended(timeout)
        if task.status is TaskStatus.COMPLETED:
            if "result" in task.hidden:
                raise ResultHidden(task)
            return self._read(task)
        if task.status is TaskStatus.CANCELLED:
            raise TaskCancelled(task)
        attempts = None
        with contextlib.suppress(HeadraceError):  # that it failed is said in any case
            attempts = (yield from self._calls.get(self.id, ("attempts",))).attempts
        raise TaskFailed(task, attempts[-1] if attempts else None)

    def _changed(self, before: TaskDetail | None) -> Program[TaskDetail]:
        """Its record, once it shows something else than before."""
        while True:
            record = yield from self._calls.get(self.id)
            if before is None or _shown(record) != _shown(before):
                return record
            with contextlib.suppress(WaitTimeout):
                yield from self._calls.wait(self.id, LOOK_SECONDS)

    def _retried(self) -> Program[TaskStatus]:
        self._final = None
        return self._calls.retry(self.id)


class TaskHandle(_Handle[R_co]):
    """A task, as `Client` gives it. `R` is what its handler returns."""

    def __init__(self, run: Runner, calls: Calls, accepted: Accepted, read: Read) -> None:
        super().__init__(calls, accepted, read)
        self._run = run

    def get(self, *, include: Sequence[str] = ()) -> TaskDetail:
        """Its record now; `include=["attempts"]`: with what became of its attempts.

        Raises `errors.TaskNotFound` once its retention is over.
        """
        return self._run(self._calls.get(self.id, include))

    def wait(self, timeout: float | None = None) -> TaskReply:
        """Wait until it has ended, however it did; returns its record.

        Raises WaitTimeout after `timeout` seconds, and cancels nothing; None: wait for ever.
        """
        return self._run(self._ended(timeout))

    def live(self) -> Iterator[TaskDetail]:
        """Its record now, and again each time that its status, attempt or progress changes.

        Ends with the record of its end. Looks once a second; the end comes at once. Raises
        `errors.TaskNotFound` once its retention is over.
        """
        record = None
        while record is None or not record.status.final:
            record = self._run(self._changed(record))
            yield record

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for its result, as the handler's return type has it.

        Raises TaskFailed, TaskCancelled, WaitTimeout (see `wait`), ResultInvalid, ResultHidden.
        """
        found: R_co = self._run(self._result(timeout))
        return found

    def cancel(self, *, running: bool = False) -> TaskStatus:
        """Cancel it if it has not begun; with `running`, also ask its handler to stop.

        Returns CANCELLED, or RUNNING if it was asked to stop. Raises `errors.TaskRunning`,
        `errors.NotAllowed`.
        """
        return self._run(self._calls.cancel(self.id, running=running))

    def retry(self) -> TaskStatus:
        """Queue it again after it failed or was cancelled. Raises `errors.NotAllowed`."""
        return self._run(self._retried())

    def run_now(self) -> TaskStatus:
        """Queue it before its time, while it is pending. Raises `errors.NotAllowed`."""
        return self._run(self._calls.run_now(self.id))

    def why(self) -> WhyReply:
        """Why it waits, as a code and in words."""
        return self._run(self._calls.ask(asks.why(self.id)))

    def edit(self, **changes: Unpack[TaskChanges]) -> TaskStatus:
        """Change its start, `max_retries` or tags before it begins. Raises `errors.NotAllowed`."""
        return self._run(self._calls.ask(asks.edit(self.id, changes))).status

    def delete(self) -> None:
        """Remove it and all that is kept of it, once it has ended. Raises `errors.NotAllowed`."""
        return self._run(self._calls.delete(self.id))


class AsyncTaskHandle(_Handle[R_co]):
    """A task, as `AsyncClient` gives it: `TaskHandle` with calls to be awaited."""

    def __init__(self, run: AsyncRunner, calls: Calls, accepted: Accepted, read: Read) -> None:
        super().__init__(calls, accepted, read)
        self._run = run

    async def get(self, *, include: Sequence[str] = ()) -> TaskDetail:
        """As `TaskHandle.get`."""
        return await self._run(self._calls.get(self.id, include))

    async def wait(self, timeout: float | None = None) -> TaskReply:
        """As `TaskHandle.wait`."""
        return await self._run(self._ended(timeout))

    async def live(self) -> AsyncIterator[TaskDetail]:
        """As `TaskHandle.live`, for `async for`."""
        record = None
        while record is None or not record.status.final:
            record = await self._run(self._changed(record))
            yield record

    async def result(self, timeout: float | None = None) -> R_co:
        """As `TaskHandle.result`."""
        found: R_co = await self._run(self._result(timeout))
        return found

    async def cancel(self, *, running: bool = False) -> TaskStatus:
        """As `TaskHandle.cancel`."""
        return await self._run(self._calls.cancel(self.id, running=running))

    async def retry(self) -> TaskStatus:
        """As `TaskHandle.retry`."""
        return await self._run(self._retried())

    async def run_now(self) -> TaskStatus:
        """As `TaskHandle.run_now`."""
        return await self._run(self._calls.run_now(self.id))

    async def why(self) -> WhyReply:
        """As `TaskHandle.why`."""
        return await self._run(self._calls.ask(asks.why(self.id)))

    async def edit(self, **changes: Unpack[TaskChanges]) -> TaskStatus:
        """As `TaskHandle.edit`."""
        return (await self._run(self._calls.ask(asks.edit(self.id, changes)))).status

    async def delete(self) -> None:
        """As `TaskHandle.delete`."""
        return await self._run(self._calls.delete(self.id))


class Uncompleted(Generic[H]):
    """Handles whose tasks have not been seen to end: what `as_completed` goes by."""

    def __init__(
        self,
        handles: Iterable[H],
        timeout: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ready: list[H] = []
        """Those that had ended before."""
        self._timeout = timeout
        self._clock = clock
        self._ends_at = math.inf if timeout is None else clock() + timeout
        self._by_id: dict[str, list[H]] = {}
        for handle in handles:
            if handle._final is None:
                self._by_id.setdefault(handle.id, []).append(handle)
            else:
                self.ready.append(handle)

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def ended(self, calls: Calls) -> Program[list[H]]:
        """Wait for the next ends; the handles of these tasks. Raises WaitTimeout."""
        left = None if self._timeout is None else max(self._ends_at - self._clock(), 0.0)
        ended: Ended = yield from calls.wait_any(list(self._by_id), left)
        found: list[H] = []
        for task in ended.tasks:
            for handle in self._by_id.pop(task.task_id, ()):
                handle._final = task
                found.append(handle)
        for task_id in ended.not_found:  # their `result` says so
            found += self._by_id.pop(task_id, ())
        return found

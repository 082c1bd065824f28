"""What a handler's context can ask of its worker: progress, checkpoints, submits, children."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from headrace.client.opening import new_task
from headrace.handlers import (
    ChildEnd,
    Context,
    EndStatus,
    FurtherTask,
    SubmitFailed,
    TaskType,
    own_task,
)
from headrace.taskqueue import (
    IdempotencyConflict,
    NewTask,
    NotAllowed,
    QueueError,
    QueueUnavailable,
    Task,
    TaskNotFound,
    TaskQueue,
    TaskStatus,
    TypeInfo,
    UpgradeInProgress,
)
from headrace_worker.running import Hand, Running
from headrace_worker.session import BACKOFF, Session

PROGRESS_INTERVAL_SECONDS = 0.2
"""Reports of progress that come faster are thinned out: the last word counts."""

PUBLISHED_SECONDS = 10.0
"""The types of other workers are read again after so long; an unknown one is looked for at once."""

_ENDS: Mapping[TaskStatus, EndStatus] = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
}

T = TypeVar("T")
Report = tuple[float, str]


class WorkerHost:
    """Answers for the contexts of a worker's attempts. Must be made in the event loop.

    Args:
        session: the worker's calls.
        hand: to find the attempt that a context belongs to.
        queue: takes what handlers submit.
        types: the task types of this worker.
        values: what the lifespans yield.
    """

    def __init__(
        self,
        session: Session,
        hand: Hand,
        queue: TaskQueue,
        types: Sequence[TaskType[Any, Any]],
        values: Mapping[Any, Any],
    ) -> None:
        self.values = values
        self._session = session
        self._hand = hand
        self._queue = queue
        self._types = {task_type.name: task_type for task_type in types}
        self.loop = asyncio.get_running_loop()
        self._published: Mapping[str, TypeInfo] = {}
        self._published_at = 0.0
        self._reports: dict[Running, Report] = {}
        self._noted = False
        """The event loop is going to look at `_reports`."""
        self._reporting: asyncio.Task[None] | None = None

    # For contexts

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        """Take note; it is sent soon. From any thread."""
        running = self._running(ctx)
        if running is None or running.outcome is not None:
            return
        self._reports[running] = (percent, message or "")
        if not self._noted:
            # Once until the event loop has seen it: a handler that reports in a tight loop would
            # fill the memory with calls that wait for the event loop.
            self._noted = True
            self.loop.call_soon_threadsafe(self._report_soon)

    async def checkpoint(self, ctx: Context, state: bytes, entries: Sequence[bytes]) -> None:
        """Keep bytes under the task; waits while Redis is away."""
        await self._keep(
            ctx,
            lambda running: self._session.checkpoint(running, state, entries),
            lambda running: running.remember(state, entries),
        )

    async def append(self, ctx: Context, entries: Sequence[bytes]) -> None:
        """Append to the task's journal; waits while Redis is away."""
        await self._keep(
            ctx,
            lambda running: self._session.append(running, entries),
            lambda running: running.remember(
                running.claimed.state, (*running.claimed.journal, *entries)
            ),
        )

    async def _keep(
        self,
        ctx: Context,
        store: Callable[[Running], Awaitable[bool]],
        remember: Callable[[Running], None],
    ) -> None:
        """Store something under the task; waits until the last worker of 0.2.0 has gone, too."""
        running = self._running(ctx)
        if running is not None and await insist(lambda: store(running)):
            remember(running)
            return
        if running is not None:
            self._hand.lose(running)
        # The attempt was cancelled just now; this is where it learns of it.
        await asyncio.sleep(0)

    async def submit(self, ctx: Context, task: FurtherTask) -> None:
        """Submit a further task; waits while Redis is away. Raises SubmitFailed, PayloadInvalid."""
        new = new_task(task, self._types)
        try:
            if task.child:
                new = await self._as_published(task, new)
                await self._keep(
                    ctx, lambda running: self._submit_child(running, new), Running.remember_children
                )
            else:
                await insist(lambda: self._queue.submit(new))
        except IdempotencyConflict:
            return  # an earlier attempt has submitted it, with a payload that differs a little
        except (QueueError, ValueError) as error:
            raise SubmitFailed(str(error)) from error

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        """How a child of the task ended; waits while Redis is away."""
        child = await self._child(ctx, task_id)
        end = _ENDS.get(child.status)
        return None if end is None else ChildEnd(end, child.result, child.error, child.problem)

    async def cancel_child(self, ctx: Context, task_id: str) -> None:
        """Cancel a child of the task; waits while Redis is away."""
        await self._child(ctx, task_id)
        try:
            await insist(lambda: self._queue.cancel(task_id, running=True))
        except NotAllowed:
            return  # it has ended

    async def _as_published(self, task: FurtherTask, new: NewTask) -> NewTask:
        """With the retries that its type has, which a worker of another pool may have published."""
        if task.type in self._types:
            return new
        now = self.loop.time()
        if task.type not in self._published or now - self._published_at > PUBLISHED_SECONDS:
            self._published = await insist(self._queue.types)
            self._published_at = now
        published = self._published.get(task.type)
        if published is None:
            raise SubmitFailed(
                f"no worker has the task type {task.type!r}, and none has had it: install its "
                "package in a worker, or look whether the name is right"
            )
        if task.max_retries is not None:
            return new
        return msgspec.structs.replace(new, max_retries=published.max_retries)

    async def _submit_child(self, running: Running, child: NewTask) -> bool:
        return await self._session.submit_child(running, child) is not None

    async def _child(self, ctx: Context, task_id: str) -> Task:
        try:
            child = await insist(lambda: self._queue.get(task_id))
        except TaskNotFound as error:
            raise LookupError(str(error)) from error
        if child.parent != ctx.task_id:
            raise LookupError(f"task {task_id} is no child of task {ctx.task_id}")
        return child

    # For the worker

    def has_report(self, running: Running) -> bool:
        """Whether progress was reported that has not been sent yet."""
        return running in self._reports

    async def send_report(self, running: Running) -> None:
        """Send what an attempt reported last. What cannot be sent now is dropped."""
        report = self._reports.pop(running, None)
        if report is None or running not in self._hand.held:
            return
        try:
            held = await self._session.progress(running, *report)
        except QueueError:
            return  # whatever is wrong, the report of the attempt's end meets it too
        if not held and running.outcome is None:
            self._hand.lose(running)

    def _report_soon(self) -> None:
        self._noted = False
        if self._reporting is None:
            self._reporting = own_task(self.loop, self._report_now_and_then())

    async def _report_now_and_then(self) -> None:
        try:
            while self._reports:
                await asyncio.gather(*(self.send_report(report) for report in list(self._reports)))
                await asyncio.sleep(PROGRESS_INTERVAL_SECONDS)
        finally:
            self._reporting = None

    def _running(self, ctx: Context) -> Running | None:
        return next((attempt for attempt in list(self._hand.slots) if attempt.ctx is ctx), None)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call until Redis can be reached, and no worker lives that could not read what is written.

    A time-out of the handler ends it, as it does all else.
    """
    failures = 0
    while True:
        try:
            return await call()
        except (QueueUnavailable, UpgradeInProgress):
            await asyncio.sleep(BACKOFF.delay(failures, random.random))
            failures += 1

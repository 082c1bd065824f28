"""Runs a task inside the request that asks for it: bounded in number and in time.

An inline run stands in no index, rate or worker count. It is one attempt: who asked is waiting
and can ask again.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from headrace.contract.problems import INLINE_BUSY
from headrace.handlers import (
    ChildEnd,
    Context,
    LifespanFailed,
    Limit,
    Outcome,
    Raised,
    Resources,
    Returned,
    SubmitFailed,
    run_attempt,
)
from headrace.limits import DEFAULT_MAX_DEPTH
from headrace.logs import get_logger
from headrace.taskqueue import NewTask, Task, TaskStatus, TooDeep
from headrace_api.http.problems import BUSY_RETRY_AFTER_SECONDS, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from headrace.handlers import FurtherTask, Lifespan, Middleware, TaskType

log = get_logger(__name__)


async def no_queue(task: FurtherTask) -> None:
    """Refuse what a handler submits: there is no queue."""
    raise SubmitFailed("there is no queue to submit to: QUEUE_ENABLED is false")


class _Host:
    """Answers for the context of one inline run (see `headrace.handlers.Host`)."""

    def __init__(
        self,
        values: Mapping[Any, Any],
        submit: Callable[[FurtherTask], Awaitable[None]],
        run_child: Callable[[Context, FurtherTask], Awaitable[ChildEnd]],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.values = values
        self._submit = submit
        self._run_child = run_child
        self._ends: dict[str, ChildEnd] = {}
        self.percent: float | None = None
        self.message: str | None = None

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        """The last word stands in the record; nobody can see it before."""
        self.percent, self.message = percent, message

    async def checkpoint(self, ctx: Context, state: bytes, entries: Sequence[bytes]) -> None:
        """There is no second attempt that could go on from it."""

    async def append(self, ctx: Context, entries: Sequence[bytes]) -> None:
        """As `checkpoint`."""

    async def submit(self, ctx: Context, task: FurtherTask) -> None:
        """Into the queue, and not inside the request, where nobody would learn what came of it.

        A child is run in place, to its end.
        """
        if task.child:
            if task.id not in self._ends:
                self._ends[task.id] = await self._run_child(ctx, task)
        else:
            await self._submit(task)

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        """How it ended: it has, for it ran in place."""
        try:
            return self._ends[task_id]
        except KeyError:
            raise LookupError(f"this run has no child {task_id}") from None

    async def cancel_child(self, ctx: Context, task_id: str) -> None:
        """It has ended."""
        await self.child(ctx, task_id)


class InlineRunner:
    """The slots for inline runs. A slot is free again when the handler's code has ended.

    A sync handler past its time cannot be killed: it keeps its slot, and the reply does not wait.
    The first run enters the lifespans; an API that runs nothing never opens them.

    Args:
        max_running: how many runs at once.
        timeout_seconds: how long one may take.
        max_result_bytes: larger results are failures.
        middleware: around every run, the outermost first.
        lifespans: what handlers find in their context.
        submit: takes what handlers submit. Raises SubmitFailed.
        types: the task types whose handlers can run as children of a run.
        max_depth: how deep children may have children.
    """

    def __init__(
        self,
        *,
        max_running: int,
        timeout_seconds: float,
        max_result_bytes: int,
        middleware: Sequence[Middleware] = (),
        lifespans: Sequence[Lifespan[Any]] = (),
        submit: Callable[[FurtherTask], Awaitable[None]] = no_queue,
        types: Mapping[str, TaskType[Any, Any]] = MappingProxyType({}),
        max_depth: int = DEFAULT_MAX_DEPTH,
    ) -> None:
        self._types = types
        self._max_depth = max_depth
        self._max_running = max_running
        self._timeout_seconds = timeout_seconds
        self._submit = submit
        self._resources = Resources(
            threads=ThreadPoolExecutor(max_running, thread_name_prefix="inline"),
            max_result_bytes=max_result_bytes,
            middleware=middleware,
            lifespans=lifespans,
        )
        self.running = 0
        """Slots taken now."""
        self.ended: dict[TaskStatus, int] = {TaskStatus.COMPLETED: 0, TaskStatus.FAILED: 0}
        """How many runs ended so since the start."""

    async def run(self, task_type: TaskType[Any, Any], task: NewTask) -> Task:
        """Run it to its end and make its final record. Raises the 503 problem when all is taken."""
        if self.running >= self._max_running:
            raise Problem(
                INLINE_BUSY,
                f"{self._max_running} tasks run inside requests already (INLINE_MAX): "
                "try again later",
                retry_after_seconds=BUSY_RETRY_AFTER_SECONDS,
            )
        host = self._host()
        created_at = datetime.now(UTC)
        outcome = await self._attempt(
            task_type, task, Context(task.id, task.type, host, headers=task.headers)
        )
        record = _record(task, outcome, created_at, host)
        self.ended[record.status] += 1
        log.info(
            "task.inline",
            task_id=task.id,
            type=task.type,
            status=str(record.status),
            duration_ms=round((datetime.now(UTC) - created_at).total_seconds() * 1000, 3),
            error=record.error,
        )
        return record

    async def close(self) -> None:
        """Leave the lifespans, let go of the threads; what runs in them is not waited for."""
        await self._resources.close()

    def _host(self) -> _Host:
        return _Host(self._resources.lifespans.values, self._submit, self._run_child)

    async def _run_child(self, parent: Context, task: FurtherTask) -> ChildEnd:
        """Run a child of an inline run: one attempt, in the slot and within the time of the run."""
        if parent.depth >= self._max_depth:
            raise SubmitFailed(str(TooDeep(self._max_depth)))
        task_type = self._types.get(task.type)
        if task_type is None:
            raise SubmitFailed(
                f"the API has no handler of the task type {task.type!r}, and this is a run inside "
                "a request: run it through the queue, or install the package in the API, too"
            )
        ctx = Context(
            task.id, task.type, self._host(), headers=task.headers, depth=parent.depth + 1
        )
        ended = await run_attempt(task_type, task.payload, ctx, resources=self._resources)
        match ended.outcome:
            case Returned(result):
                return ChildEnd("completed", result)
            case Raised(error, problem=problem):
                return ChildEnd("failed", error=error, problem=problem)
            case _:
                return ChildEnd("cancelled")

    async def _attempt(self, task_type: TaskType[Any, Any], task: NewTask, ctx: Context) -> Outcome:
        too_long = Raised(
            f"TimeoutError: the run took longer than {self._timeout_seconds:g} s, "
            "the limit inside a request (INLINE_TIMEOUT_SECONDS)",
            retryable=False,
        )
        self.running += 1  # before the first await: another run looks at it meanwhile
        try:
            await self._resources.open()
        except LifespanFailed as error:
            self._on_gone()
            return Raised(str(error), retryable=False, exception=error)
        except BaseException:
            self._on_gone()
            raise
        ended = await run_attempt(
            task_type,
            task.payload,
            ctx,
            resources=self._resources,
            limit=Limit(self._timeout_seconds, too_long),
            on_gone=self._on_gone,
        )
        return ended.outcome

    def _on_gone(self) -> None:
        self.running -= 1


def _record(task: NewTask, outcome: Outcome, created_at: datetime, host: _Host) -> Task:
    """The final record of an inline run."""
    result = error = None
    if isinstance(outcome, Returned):
        status, result = TaskStatus.COMPLETED, outcome.result
    else:
        status = TaskStatus.FAILED
        error = outcome.error if isinstance(outcome, Raised) else "the run was stopped"
    return Task(
        id=task.id,
        type=task.type,
        status=status,
        created_at=created_at,
        started_at=created_at,
        completed_at=datetime.now(UTC),
        payload=task.payload,
        result=result,
        error=error,
        max_retries=task.max_retries,
        progress_percent=host.percent,
        progress_message=host.message,
        headers=task.headers,
        tags=task.tags,
    )

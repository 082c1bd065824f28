"""Runs one handler as a worker does, and keeps what it asks of the worker."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, assert_never, overload

from headrace.handlers import (
    ChildEnd,
    Context,
    Fatal,
    FurtherTask,
    Lifespan,
    Middleware,
    Outcome,
    Park,
    Raised,
    Resources,
    Returned,
    Stopped,
    TaskType,
    run_attempt,
)

P = TypeVar("P")
R = TypeVar("R")

TASK_ID = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class HandlerRun(Generic[R]):
    """What came of a handler, and what it did on the way."""

    result: R
    """What it returned, as a client reads it: written as JSON and read by its annotation; or the
    `Park` that it returned."""
    progress: list[tuple[float, str | None]] = field(default_factory=list)
    """Each percentage and message that it reported."""
    checkpoints: list[bytes] = field(default_factory=list)
    """What it kept."""
    journal: list[bytes] = field(default_factory=list)
    """What it appended to its journal, before and after checkpoints."""
    submitted: list[FurtherTask] = field(default_factory=list)
    """The tasks that it submitted."""
    cancelled: list[str] = field(default_factory=list)
    """The ids of the children that it cancelled."""


class _Host:
    """Stands in for a worker."""

    def __init__(
        self,
        run: HandlerRun[Any],
        values: Mapping[Any, Any],
        children: Mapping[str, ChildEnd],
    ) -> None:
        self._children = children
        self.loop = asyncio.get_running_loop()
        self.values = values
        self._run = run

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        self._run.progress.append((percent, message))

    async def checkpoint(self, ctx: Context, state: bytes, entries: Sequence[bytes]) -> None:
        self._run.checkpoints.append(state)
        self._run.journal.extend(entries)

    async def append(self, ctx: Context, entries: Sequence[bytes]) -> None:
        self._run.journal.extend(entries)

    async def submit(self, ctx: Context, task: FurtherTask) -> None:
        self._run.submitted.append(task)

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        return self._children.get(self._child(task_id).type)

    async def cancel_child(self, ctx: Context, task_id: str) -> None:
        self._run.cancelled.append(self._child(task_id).id)

    def _child(self, task_id: str) -> FurtherTask:
        for task in self._run.submitted:
            if task.child and task.id == task_id:
                return task
        raise LookupError(f"the handler has submitted no child {task_id} in this run")


@overload
async def run_handler(
    task_type: TaskType[P, Coroutine[Any, Any, R]],
    payload: P,
    *,
    attempt: int = 1,
    state: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    inbox: Sequence[bytes] = (),
    journal: Sequence[bytes] = (),
    children: Mapping[str, ChildEnd] | None = None,
    values: Mapping[Lifespan[Any], Any] | None = None,
    middleware: Sequence[Middleware] = (),
) -> HandlerRun[R]: ...


@overload
async def run_handler(
    task_type: TaskType[P, R],
    payload: P,
    *,
    attempt: int = 1,
    state: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    inbox: Sequence[bytes] = (),
    journal: Sequence[bytes] = (),
    children: Mapping[str, ChildEnd] | None = None,
    values: Mapping[Lifespan[Any], Any] | None = None,
    middleware: Sequence[Middleware] = (),
) -> HandlerRun[R]: ...


async def run_handler(
    task_type: TaskType[Any, Any],
    payload: Any,
    *,
    attempt: int = 1,
    state: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    inbox: Sequence[bytes] = (),
    journal: Sequence[bytes] = (),
    children: Mapping[str, ChildEnd] | None = None,
    values: Mapping[Lifespan[Any], Any] | None = None,
    middleware: Sequence[Middleware] = (),
) -> HandlerRun[Any]:
    """Run a handler once, under its time-out; payload and result are checked as by a worker.

    A handler of `run_in="process"` runs here too, in a thread or in this event loop.

    Args:
        task_type: a function decorated with `@handler`.
        payload: what it takes.
        attempt: from 1.
        state: what an earlier attempt has kept by a checkpoint or a `Park`.
        headers: what was submitted beside the payload.
        inbox: the items that have come since the task last parked.
        journal: what earlier attempts have appended since the state was written.
        children: how the children that it submits have ended, by their task type; the others have
            not.
        values: what `ctx.value(lifespan)` brings: `{database: pool}`.
        middleware: around the handler, the outermost first.

    Raises:
        PayloadInvalid: the payload does not fit the handler's model.
        Fatal: the handler raised it, or its result cannot be stored.
        Exception: whatever the handler raises; TimeoutError when it takes too long.
    """
    here = copy.copy(task_type)
    here.in_process = False
    run: HandlerRun[Any] = HandlerRun(None)
    ctx = Context(
        TASK_ID,
        task_type.name,
        _Host(run, values or {}, children or {}),
        attempt=attempt,
        state=state,
        can_park=True,
        headers=headers or {},
        inbox=inbox,
        journal=journal,
    )
    resources = Resources(middleware=middleware)
    try:
        ended = await run_attempt(here, task_type.encode_payload(payload), ctx, resources=resources)
    finally:
        await resources.close()
    return dataclasses.replace(run, result=_result(task_type, ended.outcome))


def _result(task_type: TaskType[Any, Any], outcome: Outcome) -> Any:
    match outcome:
        case Returned(result):
            return task_type.decode_result(result)
        case Park():
            return outcome
        case Raised(error, _, exception):
            raise exception or Fatal(error)
        case Stopped(reason):
            raise RuntimeError(f"the attempt was stopped: {reason}")
        case _:
            assert_never(outcome)

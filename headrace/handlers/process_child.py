"""The child process that runs handlers for a worker, one attempt at a time (see processes.py).

It is a small worker of its own: it enters the lifespans of the installed packages, and puts their
middleware around each attempt. What needs the queue (progress, checkpoints, submits) it asks of its
parent, over the socket that it is given. It ends when that socket is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ctypes
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, assert_never

from headrace import logs
from headrace.handlers import process_messages as messages
from headrace.handlers.children import ChildEnd
from headrace.handlers.context import Context, FurtherTask
from headrace.handlers.entry_points import load_lifespans, load_middleware
from headrace.handlers.errors import HandlerError, SubmitFailed
from headrace.handlers.failures import describe, type_name
from headrace.handlers.forks import guard_forks
from headrace.handlers.leaving import leave_within
from headrace.handlers.loops import run
from headrace.handlers.outcomes import Outcome, Park, Raised, Returned, Stopped, StopReason
from headrace.handlers.resources import Resources
from headrace.handlers.runner import Attempt
from headrace.handlers.task_type import TaskType
from headrace.logs.exceptions import format_exception

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 262_144
_PATIENCE_SECONDS = 3600.0
"""Longer than the parent's: it kills this process when an attempt does not stop."""
_REPORT_SECONDS = 0.1
"""Reports of progress that come faster are thinned out: the last word counts."""


def main() -> None:
    """Arguments: the socket's descriptor, sys.path, the parent's pid, level and format of logs."""
    descriptor, _, parent, level, style = sys.argv[1:]
    sys.argv[1:] = []
    _die_with(int(parent))
    for number in (signal.SIGINT, signal.SIGTERM):
        # The parent says when to end; a process manager may signal each process of its group. Not
        # SIG_IGN: programs that a handler starts would inherit that.
        signal.signal(number, lambda *_: None)
    logs.configure(level, style)  # type: ignore[arg-type]
    guard_forks()
    run(_Child(socket.socket(fileno=int(descriptor))).serve())


def _die_with(parent: int) -> None:
    """End when the parent does, also when it is killed and also within a call that never returns.

    On Linux the kernel sees to it. Elsewhere the closed socket ends this process, as soon as Python
    code runs. The kernel looks at the *thread* that started this process: it is the one of the
    parent's event loop.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(1)


class _Child:
    """The socket, and the attempt under way. Also the host of its context."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[messages.Answer]] = {}
        self._attempt: Attempt | None = None
        self._types: dict[str, TaskType[Any, Any]] = {}
        self._report: messages.Progress | None = None
        self._reporting = False

    async def serve(self) -> None:
        """Run attempts until the parent closes the socket."""
        self.loop = asyncio.get_running_loop()
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        try:
            self._resources = Resources(middleware=load_middleware(), lifespans=load_lifespans())
            await self._resources.open()
        except HandlerError as error:
            self._send(messages.Ready(str(error)))
            return
        self._send(messages.Ready())
        frames = messages.Frames()
        while data := await self._read(reader):
            for body in frames.feed(data):
                self._hear(messages.to_child.decode(body))
        if self._attempt is not None:
            self._attempt.stop(Stopped(StopReason.HANDED_BACK), 0.0)
        await self._resources.close()
        leave_within(0, self.loop)

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> bytes:
        with contextlib.suppress(ConnectionError):
            return await reader.read(_READ_BYTES)
        return b""

    def _hear(self, message: messages.ToChild) -> None:
        match message:
            case messages.RunAttempt():
                self._begin(message)
            case messages.Stop():
                if self._attempt is not None:
                    # The parent kills this process when its patience ends.
                    self._attempt.stop(Stopped(StopReason.HANDED_BACK), _PATIENCE_SECONDS)
            case messages.Answer(number):
                answer = self._asked.get(number)  # who asked may have given up
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case _:
                assert_never(message)

    def _begin(self, order: messages.RunAttempt) -> None:
        ctx = Context(
            order.task_id,
            order.task_type,
            self,
            attempt=order.attempt,
            state=order.state,
            inbox=order.inbox,
            journal=order.journal,
            generation=order.generation,
            can_park=order.can_park,
            headers=order.headers,
        )
        if order.deadline is not None:
            ctx.set_deadline(order.deadline)
        self._resources.max_result_bytes = order.max_result_bytes
        try:
            task_type = self._find(order.module, order.task_type)
        except BaseException as error:  # the module runs code of its author
            traceback = format_exception(error)
            self._send(messages.HandlerRaised(describe(error), False, traceback, type_name(error)))
            return
        self._attempt = Attempt(
            task_type,
            ctx,
            on_outcome=lambda _: None,
            on_gone=self._on_gone,
            resources=self._resources,
        )
        self._attempt.start(self.loop, order.payload)

    def _find(self, module: str, name: str) -> TaskType[Any, Any]:
        found = self._types.get(name)
        if found is None:
            values = vars(import_module(module)).values()
            types = [it for it in values if isinstance(it, TaskType) and it.name == name]
            if not types:
                raise HandlerError(
                    f"the module {module} holds no task type {name!r} at its top level, and a "
                    'child process finds it nowhere else: see run_in="process"'
                )
            found = copy.copy(types[0])
            # Here it runs as any other; the parent keeps the time.
            found.in_process, found.timeout_seconds = False, None
            self._types[name] = found
        return found

    def _on_gone(self, attempt: Attempt) -> None:
        if attempt.outcome is None:
            raise RuntimeError("an attempt was called gone and has no outcome")
        logs.flush()
        self._send_report()
        self._attempt = None
        self._send(_message_of(attempt.outcome))

    def _send(self, message: messages.ToParent) -> None:
        self._writer.write(messages.framed(message))

    def _send_report(self) -> None:
        self._reporting = False
        report, self._report = self._report, None
        if report is not None and self._attempt is not None:
            self._send(report)

    async def _ask(self, make: Callable[..., messages.ToParent], *what: Any) -> messages.Answer:
        number = next(self._numbers)
        answer: asyncio.Future[messages.Answer] = self.loop.create_future()
        self._asked[number] = answer
        self._send(make(number, *what))
        try:
            return await answer
        finally:
            del self._asked[number]

    # For the context

    @property
    def values(self) -> Mapping[Any, Any]:
        """What the lifespans have yielded in this process."""
        return self._resources.lifespans.values

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        """Pass it on soon. From any thread."""
        self._report = messages.Progress(percent, message)
        if not self._reporting:
            # Once until it is sent: a handler that reports in a tight loop would fill the memory.
            self._reporting = True
            self.loop.call_soon_threadsafe(self.loop.call_later, _REPORT_SECONDS, self._send_report)

    async def checkpoint(self, ctx: Context, state: bytes, entries: Sequence[bytes]) -> None:
        """Let the parent keep it."""
        answer = await self._ask(messages.Checkpoint, state, entries)
        if answer.error is not None:
            raise HandlerError(answer.error)

    async def append(self, ctx: Context, entries: Sequence[bytes]) -> None:
        """Let the parent append them."""
        answer = await self._ask(messages.Append, entries)
        if answer.error is not None:
            raise HandlerError(answer.error)

    async def submit(self, ctx: Context, task: FurtherTask) -> None:
        """Let the parent submit it."""
        answer = await self._ask(messages.Submit, task)
        if answer.error is not None:
            raise SubmitFailed(answer.error)

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        """Let the parent look."""
        answer = await self._ask(messages.LookUpChild, task_id)
        if answer.error is not None:
            raise LookupError(answer.error)
        return answer.end

    async def cancel_child(self, ctx: Context, task_id: str) -> None:
        """Let the parent cancel it."""
        answer = await self._ask(messages.CancelChild, task_id)
        if answer.error is not None:
            raise LookupError(answer.error)


def _message_of(outcome: Outcome) -> messages.ToParent:
    """An outcome, as the parent is told of it."""
    match outcome:
        case Returned(result):
            return messages.HandlerReturned(result)
        case Raised(error, retryable, exception, error_type):
            traceback = None if exception is None else format_exception(exception)
            return messages.HandlerRaised(error, retryable, traceback, error_type)
        case Park(unpark_at, state, wake_on, entries):
            return messages.HandlerParked(unpark_at, state, wake_on, tuple(entries))
        case Stopped():
            return messages.Ceased()
        case _:
            assert_never(outcome)

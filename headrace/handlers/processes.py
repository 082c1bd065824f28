"""Runs attempts in child processes: for handlers that compute (`run_in="process"`).

A child is started when an attempt needs one, runs one attempt at a time, and is kept. There are
never more than attempts under way, so as many as the worker has slots. A child that was killed or
crashed is replaced at once, so that the next attempt finds one that is warm.

Children are started as programs of their own, never forked: they share neither signals nor sockets
nor the event loop with the worker. They end when the worker does, however it ends.

Own code, for this needs more than a pool of processes gives: a channel beside each attempt
(progress, checkpoints, submits, stop), a kill that meets one attempt alone, the signal that ended a
child. `loky` breaks the whole pool when one child crashes; `pebble` kills one alone, and has no
channel, and shares one pipe and its lock between all children.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, assert_never, cast

from headrace import logs
from headrace.handlers import process_messages as messages
from headrace.handlers.children import ChildEnd
from headrace.handlers.context import Context
from headrace.handlers.errors import HandlerError, ProcessDied, RemoteTraceback
from headrace.handlers.failures import describe
from headrace.handlers.lifespans import EXIT_SECONDS
from headrace.handlers.loops import own_task
from headrace.handlers.outcomes import Outcome, Park, Raised, Returned

START_SECONDS = 60.0
"""A child that is not ready by then is killed. It imports the handler's package."""
END_SECONDS = EXIT_SECONDS + 1.0
"""How long idle children may take to leave their lifespans when the pool is closed."""
LAST_WORDS_SECONDS = 0.05
"""What a child said just before it died is still read."""

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from headrace.handlers.process_child import main; main()"
)

log = logs.get_logger(__name__)


class AttemptInChild(Protocol):
    """An attempt, as a child process runs it. All calls come from the event loop's thread."""

    @property
    def ctx(self) -> Context:
        """Its context."""

    def message(self) -> messages.RunAttempt:
        """What the child is told. Called when it is ready: the attempt's time begins now."""

    def finished(self, outcome: Outcome | ProcessDied) -> None:
        """The handler has ended, or the child has died: then why. No code of it runs any more."""


class ProcessPool:
    """The children of one process. Made in any thread, used in the event loop's."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._closed = False

    def run(self, attempt: AttemptInChild) -> Ticket:
        """Run an attempt in a child, a fresh one if none is idle."""
        try:
            child = self._idle.pop() if self._idle else self._start()
        except OSError as error:
            refused = ProcessDied(f"no process could be started for the handler: {error}")
            asyncio.get_running_loop().call_soon(attempt.finished, refused)
            return Ticket(None, attempt)
        child.begin(attempt)
        return Ticket(child, attempt)

    @property
    def pids(self) -> list[int]:
        """The process ids of all children."""
        return [child.pid for child in self._children]

    async def close(self) -> None:
        """End idle children in order, and kill what still runs."""
        self._closed = True
        children = list(self._children)
        for child in children:
            if child.attempt is None:
                child.end()
            else:
                child.kill()
        if children:
            await asyncio.wait([child.gone for child in children], timeout=END_SECONDS)
        for child in self._children:
            child.kill()

    def _start(self) -> _Child:
        child = _Child(self._free, self._lost)
        self._children.add(child)
        return child

    def _free(self, child: _Child) -> None:
        self._idle.append(child)

    def _lost(self, child: _Child) -> None:
        """A child has died; one that had come to work is replaced, unless all is over."""
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        elif child.is_ready and not self._closed:
            with contextlib.suppress(OSError):  # the next attempt tries it again, and says so
                self._free(self._start())


class Ticket:
    """One attempt in a child."""

    __slots__ = ("_attempt", "_child")

    def __init__(self, child: _Child | None, attempt: AttemptInChild) -> None:
        self._child = child
        self._attempt = attempt

    def stop(self) -> None:
        """Ask the handler to stop, as `ctx.cancelled` and asyncio's cancellation do."""
        if self._child is not None and self._child.attempt is self._attempt:
            self._child.send(messages.Stop())

    def kill(self) -> None:
        """Kill the child, and what the handler has started in its group of processes."""
        if self._child is not None and self._child.attempt is self._attempt:
            self._child.kill()


class _Child(asyncio.Protocol):
    """A child process and the socket to it."""

    def __init__(self, free: Callable[[_Child], None], lost: Callable[[_Child], None]) -> None:
        self.attempt: AttemptInChild | None = None
        self.is_ready = False
        self._is_over = False
        """It was killed or has died: it takes no further attempt."""
        self._free = free
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._error: str | None = None
        self._frames = messages.Frames()
        self._transport: asyncio.Transport | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._process, self._socket = _spawn()
        self._too_late = self._loop.call_later(START_SECONDS, self._give_up)
        threading.Thread(target=self._wait, name="handler-process", daemon=True).start()
        self._connecting = own_task(self._loop, self._connect())

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, attempt: AttemptInChild) -> None:
        self.attempt = attempt
        if self.is_ready:
            self.send(attempt.message())

    def send(self, message: messages.ToChild) -> None:
        if self._transport is not None:
            self._transport.write(messages.framed(message))

    def end(self) -> None:
        """It leaves its lifespans and exits when it reads the end."""
        if self._transport is not None:
            self._transport.close()
        else:
            self.kill()

    def kill(self) -> None:
        self._is_over = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # From the socket

    async def _connect(self) -> None:
        await self._loop.create_unix_connection(lambda: self, sock=self._socket)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for body in self._frames.feed(data):
            self._hear(messages.to_parent.decode(body))

    def _hear(self, message: messages.ToParent) -> None:
        match message:
            case messages.Ready(error):
                self._heard_ready(error)
            case messages.HandlerReturned(result):
                self._ended(Returned(result))
            case messages.HandlerRaised(error, retryable, traceback, error_type):
                exception = None if traceback is None else RemoteTraceback(traceback)
                self._ended(Raised(error, retryable, exception, error_type))
            case messages.HandlerParked(unpark_at, state, wake_on, entries):
                self._ended(Park(unpark_at, state, wake_on, entries))
            case messages.Ceased():
                self._ended(Returned(b"null"))  # why it was stopped is what counts
            case messages.Progress(percent, text):
                if self.attempt is not None:
                    self.attempt.ctx.progress(percent, text)
            case messages.Checkpoint(number, state, entries):
                if self.attempt is not None:
                    self._answer(number, self.attempt.ctx.checkpoint(state, entries))
            case messages.Append(number, entries):
                if self.attempt is not None:
                    self._answer(number, self.attempt.ctx.append(entries))
            case messages.Submit(number, task):
                if self.attempt is not None:
                    self._answer(number, self.attempt.ctx.pass_on(task))
            case messages.LookUpChild(number, task_id):
                if self.attempt is not None:
                    self._answer(number, self.attempt.ctx.child(task_id))
            case messages.CancelChild(number, task_id):
                if self.attempt is not None:
                    self._answer(number, self.attempt.ctx.cancel_child(task_id))
            case _:
                assert_never(message)

    def _heard_ready(self, error: str | None) -> None:
        self._too_late.cancel()
        if error is not None:
            self._error = error  # it exits by itself
            return
        self.is_ready = True
        if self.attempt is None:
            return
        if self.attempt.ctx.cancelled:
            self._ended(Returned(b"null"))  # it was stopped before it began
        else:
            self.send(self.attempt.message())

    def _ended(self, outcome: Outcome) -> None:
        attempt, self.attempt = self.attempt, None
        for task in self._answering:
            task.cancel()
        if not self._is_over:
            self._free(self)
        if attempt is not None:
            attempt.finished(outcome)

    def _answer(self, number: int, work: Coroutine[Any, Any, ChildEnd | None]) -> None:
        async def answer() -> None:
            error = end = None
            try:
                end = await work
            except (HandlerError, LookupError) as refused:
                error = str(refused)
            except Exception as broken:
                error = describe(broken)
            self.send(messages.Answer(number, error, end))

        task = own_task(self._loop, answer())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    # From the process

    def _give_up(self) -> None:
        self._error = f"it was not ready within {START_SECONDS:g} s"
        self.kill()

    def _wait(self) -> None:
        """In a thread of its own: nothing else notices every death, on every system, at once."""
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the event loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._died)

    def _died(self) -> None:
        self._is_over = True
        self._lost(self)
        self._loop.call_later(LAST_WORDS_SECONDS, self._bury)

    def _bury(self) -> None:
        self._too_late.cancel()
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        for task in self._answering:
            task.cancel()
        attempt, self.attempt = self.attempt, None
        self.gone.set_result(None)
        if attempt is not None:
            attempt.finished(ProcessDied(_cause(self._process.returncode, self._error)))


def _spawn() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a child, in a thread that lives as long as the child may (see process_child)."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    level, style = logs.configuration()
    with contextlib.ExitStack() as on_failure, theirs:
        on_failure.callback(ours.close)
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), json.dumps(sys.path)),
                *(str(os.getpid()), level, style),
            ],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            # A signal to the worker's group must not reach it: a draining worker's tasks run on.
            start_new_session=True,
        )
        on_failure.pop_all()
    return process, ours


def _cause(status: int, error: str | None) -> str:
    """Why a child has ended, in a sentence."""
    if error is not None:
        return f"the handler's process could not start: {error}"
    if status >= 0:
        return f"the handler's process ended with exit status {status} before the handler did"
    number = -status
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        name = f"signal {number}"
    hint = ", as the kernel does when memory runs out" if number == signal.SIGKILL else ""
    return f"the handler's process was ended by {name}{hint}"

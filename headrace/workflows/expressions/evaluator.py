"""Runs jq programs in a few processes, so that no expression can hold or exhaust this one.

libjq holds the GIL while it runs and has no limits. An evaluation takes a fraction of a
millisecond, so one process serves many runs. What waits longer than that for a free one gets a
process more: an expression that never ends holds up nobody else. One that takes too long or too
much memory dies with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, cast

import msgspec

from headrace.workflows.expressions.child import LENGTH, EvaluationFailed, Limits, framed
from headrace.workflows.expressions.fork_server import ForkServer

PATIENCE_SECONDS = 0.02
"""So long an evaluation waits for a process of others before one more is made for it."""
SLOW_SECONDS = 0.1
"""A process that computes for longer makes room for what is quick."""
SLOW_NICENESS = 10
IDLE_SECONDS = 30.0
"""A process that was not needed for so long is ended."""
DEFAULT_PROCESSES = 8


class _Child(asyncio.Protocol):
    """A process and the connection to it, for one request at a time."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.slow = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport
        self._reply: asyncio.Future[bytes] | None = None
        self._received = bytearray()

    @property
    def ended(self) -> bool:
        """Whether it takes no requests any more."""
        return self._transport.is_closing()

    async def ask(self, request: Sequence[bytes], wall_seconds: float) -> bytes:
        """Its reply. Raises TimeoutError, and OSError if it ends before."""
        loop = asyncio.get_running_loop()
        self._reply = loop.create_future()
        self._transport.writelines(request)
        late = loop.call_later(wall_seconds, self._fail, TimeoutError())
        slow = loop.call_later(SLOW_SECONDS, self._make_room)
        try:
            return await self._reply
        finally:
            self._reply = None
            late.cancel()
            slow.cancel()

    def close(self) -> None:
        """Close the connection: a process that waits for a request ends."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not all event loops' transports are of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if len(received) < LENGTH.size:
            return
        end = LENGTH.size + LENGTH.unpack_from(received)[0]
        if len(received) >= end:
            reply = bytes(memoryview(received)[LENGTH.size : end])
            self._received = bytearray()
            if self._reply is not None and not self._reply.done():
                self._reply.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError())

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    def _make_room(self) -> None:
        self.slow = True
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, SLOW_NICENESS)


class Evaluator:
    """Evaluates jq programs within limits. Belongs to one event loop.

    Args:
        limits: what one request may use.
        max_processes: so many requests are evaluated at once, at most.
        idle_seconds: how long a process is kept that nobody needs.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        max_processes: int = DEFAULT_PROCESSES,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._limits = limits or Limits()
        self.max_result_bytes = self._limits.max_result_bytes
        self._max_processes = max_processes
        self._idle_seconds = idle_seconds
        self._fork_server = ForkServer(self._limits)
        self._children: set[_Child] = set()
        self._starting = 0
        self._idle: deque[_Child] = deque()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[_Child]] = deque()
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that evaluate, or are ready to."""
        return [child.pid for child in self._children]

    async def evaluate(self, programs: Sequence[str], document: bytes) -> list[Any]:
        """The result of each program on the JSON `document`. Raises EvaluationFailed."""
        request = framed(msgspec.json.encode(programs), document)
        child = await self._take()
        try:
            reply = await child.ask(request, self._limits.wall_seconds)
        except TimeoutError:
            self._discard(child)
            raise EvaluationFailed(
                f"it did not end within {self._limits.wall_seconds:g} s", limit="time"
            ) from None
        except OSError:
            # Its socket is closed, so it has ended or is about to: the exit code says why.
            raise self._limits.explain(await asyncio.shield(self._discard(child))) from None
        except BaseException:
            # Cancelled half-way: its reply would be taken for the next request's.
            self._discard(child)
            raise
        if child.slow:
            self._discard(child)  # it cannot have its priority back
        else:
            self._give(child)
        return read_reply(reply)

    async def close(self) -> None:
        """End all processes. What is being evaluated fails."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._fork_server.close()
        for child in self._children:
            child.close()
        self._children.clear()
        self._idle.clear()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(OSError("the processes for expressions have been closed"))
        self._waiting.clear()
        background = list(self._background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)

    async def _take(self) -> _Child:
        """A process that is free, for the caller alone; those who wait are served in turn."""
        while self._idle:
            child = self._idle.pop()
            if not child.ended:
                return child
            self._discard(child)
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[_Child] = loop.create_future()
        self._waiting.append(waiting)
        patience = loop.call_later(PATIENCE_SECONDS, self._start_for, waiting)
        if not self._children and not self._starting:
            self._start_for(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._give(waiting.result())
            raise
        finally:
            patience.cancel()

    def _give(self, child: _Child) -> None:
        """Hand a free process to who waits longest, or keep it."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(child)
                return
        loop = asyncio.get_running_loop()
        child.idle_since = loop.time()
        self._idle.append(child)
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(self._idle_seconds, self._end_idle)

    def _end_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._idle_timer = None
        # The one used last stands at the end, and is taken first.
        while self._idle and loop.time() - self._idle[0].idle_since >= self._idle_seconds:
            self._discard(self._idle.popleft())
        if self._idle:
            until = self._idle[0].idle_since + self._idle_seconds
            self._idle_timer = loop.call_at(until, self._end_idle)

    def _start_for(self, waiting: asyncio.Future[_Child]) -> None:
        started = len(self._children) + self._starting
        if waiting.done() or started >= self._max_processes or self._starting >= self._waiters():
            return
        self._starting += 1
        self._do(self._start())

    def _waiters(self) -> int:
        return sum(not waiting.done() for waiting in self._waiting)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            pid, ours = await self._fork_server.fork()
            _, child = await loop.create_connection(lambda: _Child(pid), sock=ours)
        except OSError as error:
            self._starting -= 1
            while self._waiting:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_exception(error)
                    break
            self._start_for_next()
            return
        self._starting -= 1
        self._children.add(child)
        self._give(child)

    def _start_for_next(self) -> None:
        """Start a process if somebody waits and none is there that will ever be free."""
        if not self._children and not self._starting and self._waiting:
            self._start_for(self._waiting[0])

    def _discard(self, child: _Child) -> asyncio.Task[int]:
        """End a process; its exit code."""
        self._children.discard(child)
        child.close()
        self._start_for_next()
        return self._do(self._end(child.pid))

    async def _end(self, pid: int) -> int:
        try:
            return await self._fork_server.end(pid)
        except OSError:
            return 0  # all of them have ended together

    def _do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def read_reply(reply: bytes) -> list[Any]:
    """A child's reply as the programs' results. Raises EvaluationFailed."""
    answer = msgspec.json.decode(reply)
    if "error" in answer:
        raise EvaluationFailed(answer["error"], index=answer["index"], at=answer["at"])
    results: list[Any] = answer["ok"]
    return results

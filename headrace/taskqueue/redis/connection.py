"""One pipelined connection to Redis: many commands in flight, replies in order.

Several commands leave in one write; a queue of futures takes the replies. It speaks RESP2. Not
for publish/subscribe, or anything else whose replies do not come one for one and in order.
`link.py` makes the connection when needed and again when it is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import hiredis

from headrace.taskqueue.errors import NoReply, NotSent, OutOfMemory, QueueError

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = tuple[Argument, ...]
Reply: TypeAlias = Any

# hiredis' own annotation says a tuple of one.
_pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]

TIMEOUT_TICKS = 10
"""A connection looks for overdue replies this many times per default time-out."""

_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""A peer that vanished without a word is noticed in 45 s. Not every system has all of these."""

MOVED = frozenset({"READONLY", "MOVED", "ASK", "UNBLOCKED"})
"""Not run: this server is not, or no longer, the master of our keys."""
_REFUSED = frozenset(
    {"LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "MISCONF", "NOREPLICAS"}
)
"""Not run: this server takes no commands now."""
_NOT_PERMITTED = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})
_BEFORE_FIRST_WRITE = re.compile(r"^ERR Error running script .*?-(OOM|READONLY|MISCONF) ")
"""How Redis 6.2 wraps what a script ran into. These stop a script before its first write only."""


class ReplyError(QueueError):
    """Redis, or a script, answered with an error."""

    @property
    def code(self) -> str:
        """The word that says what kind it is: `ERR`, `WRONGTYPE`, or a script's own."""
        text = str(self)
        wrapped = _BEFORE_FIRST_WRITE.match(text)
        return wrapped.group(1) if wrapped else text.partition(" ")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One Redis server: a TCP address or a Unix socket's path, and how to log in there."""

    host: str = ""
    port: int = 6379
    path: str | None = None
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0

    def __str__(self) -> str:
        return f"Redis at {self.path or f'{self.host}:{self.port}'}"


class Script:
    """A Lua script, called by the SHA-1 of its text."""

    __slots__ = ("_sha", "sha", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.sha: str = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self._sha = self.sha.encode()

    def command(self, keys: Sequence[Argument], args: Sequence[Argument]) -> Command:
        """The command that runs the script with these KEYS and ARGV."""
        return (b"EVALSHA", self._sha, len(keys), *keys, *args)


class Connection(asyncio.Protocol):
    """One connection to one server. Its futures never raise.

    Each resolves to the reply or to an exception *instance* (ReplyError, NoReply), so that a
    caller who has gone leaves no exception that nobody collects, and no reply out of place.

    Overdue replies are found by one timer for the connection, not one a call. It counts its own
    ticks instead of reading the clock: a stall of the event loop is one tick, however long, and
    so is never taken for a silent server.
    """

    __slots__ = (
        "_loop",
        "_name",
        "_pending",
        "_period",
        "_reader",
        "_retired",
        "_tick",
        "_timer",
        "_transport",
        "closed",
        "reason",
    )

    def __init__(self, name: str, timeout_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._pending: deque[tuple[asyncio.Future[Reply], int]] = deque()
        self._period = timeout_seconds / TIMEOUT_TICKS
        self._tick = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._retired = False
        self.closed = True
        self.reason = f"the connection to {name} is not made"
        """Why it is closed, if it is."""

    def ticks(self, timeout_seconds: float) -> int:
        """A time-out in the connection's ticks, never shorter than asked for."""
        return int(timeout_seconds / self._period) + 1

    def send(self, command: Command, ticks: int = TIMEOUT_TICKS) -> asyncio.Future[Reply]:
        """Write one command. The short way for the most frequent case of `write`."""
        data = _pack(command)
        if self.closed:
            raise NotSent(f"{self.reason}: the command was not sent")
        future = self._expect(ticks)
        self._transport.write(data)
        return future

    def write(
        self, commands: Sequence[Command], ticks: int = TIMEOUT_TICKS
    ) -> list[asyncio.Future[Reply]]:
        """Write several commands at once. Raises NotSent if the connection is closed."""
        data = packed(commands)
        if self.closed:
            raise NotSent(f"{self.reason}: the command was not sent")
        futures = [self._expect(ticks) for _ in commands]
        self._transport.write(data)
        return futures

    def retire(self) -> None:
        """Close as soon as every reply is in; the caller sends nothing more."""
        self._retired = True
        if not self._pending:
            self._stop()
            self.reason = f"the connection to {self._name} was closed here"
            self._transport.close()

    def fail(self, reason: str) -> None:
        """Close at once. Every call without a reply gets NoReply."""
        self._stop()
        self.reason = reason
        self._transport.abort()
        while self._pending:
            future, _ = self._pending.popleft()
            if not future.done():
                future.set_result(NoReply(f"{reason}: the command may have been carried out"))

    def _expect(self, ticks: int) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = self._loop.create_future()
        pending = self._pending
        deadline = self._tick + ticks
        # A reply cannot come before those of earlier, perhaps blocking, calls.
        if pending and pending[-1][1] > deadline:
            deadline = pending[-1][1]
        pending.append((future, deadline))
        if self._timer is None:
            self._timer = self._loop.call_later(self._period, self._on_tick)
        return future

    def _on_tick(self) -> None:
        self._tick += 1
        self._timer = None
        if self._pending:
            if self._pending[0][1] < self._tick:
                self.fail(f"{self._name} did not answer in time")
            else:
                self._timer = self._loop.call_later(self._period, self._on_tick)

    def _stop(self) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no common class
        self.closed = False
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            tune(sock)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        pending = self._pending
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:  # RESP2 has no `false` of its own
                if not pending:
                    # Such as an error on connecting: "max number of clients reached".
                    text = f" ({reply})" if isinstance(reply, ReplyError) else ""
                    self.fail(f"{self._name} sent a reply that nothing had asked for{text}")
                    return
                future = pending.popleft()[0]
                if not future.done():  # else: its caller has gone
                    future.set_result(reply)
        except hiredis.ProtocolError:
            self.fail(f"{self._name} does not speak the Redis protocol")
            return
        if self._retired and not pending:
            self.retire()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if not self.closed:
            self.fail(f"{self._name} closed the connection" + (f" ({exc})" if exc else ""))


def tune(sock: socket.socket) -> None:
    """Send at once what is written to a TCP socket, and notice a peer that has vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def packed(commands: Sequence[Command]) -> bytes:
    """Commands as they are written."""
    return b"".join([_pack(command) for command in commands])


async def exchange(
    connection: Connection, commands: Sequence[Command], ticks: int = TIMEOUT_TICKS
) -> list[Reply]:
    """Write commands, and wait for the last reply: with it, all are there."""
    futures = connection.write(commands, ticks)
    await futures[-1]
    return [future.result() for future in futures]


async def dial(endpoint: Endpoint, timeout_seconds: float) -> Connection:
    """A connection to the endpoint, nothing sent on it yet."""
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(str(endpoint), timeout_seconds)

    if endpoint.path is not None:
        _, connection = await loop.create_unix_connection(make, endpoint.path)
    else:
        _, connection = await loop.create_connection(
            make, endpoint.host, endpoint.port, ssl=endpoint.tls
        )
    return connection


def explained(error: ReplyError, name: str) -> QueueError:
    """The error of our tree that an error reply stands for."""
    code, text = error.code, str(error)
    if code == "OOM":
        return OutOfMemory(f"{name} is at its memory limit and stores nothing more: {text}")
    if code in MOVED:
        return NotSent(f"{name} is not, or no longer, the master of the queue's keys: {text}")
    if code in _REFUSED:
        return NotSent(f"{name} takes no commands now: {text}")
    if code in _NOT_PERMITTED:
        return NotSent(
            f"{name} refused the login or the command: {text}: check the user and password in "
            "REDIS_URL, and what the user may do (ACL)"
        )
    return error

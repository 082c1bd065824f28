"""Calls to the Redis server that holds the queue, over a connection made when needed.

Reconnecting, the handshake, scripts that Redis has forgotten, a master that has moved, and a
circuit breaker stand here; the connection itself is in `connection.py`, and where it leads to in
`locate.py`. Nothing newer than Redis 6.2 is used.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal

from headrace.taskqueue.errors import NotSent, QueueError
from headrace.taskqueue.redis.connection import (
    MOVED,
    TIMEOUT_TICKS,
    Argument,
    Command,
    Connection,
    Endpoint,
    Reply,
    ReplyError,
    Script,
    dial,
    exchange,
    explained,
)
from headrace.taskqueue.redis.recovery import greeting, not_run, welcomed, why_not_connected

FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 1.0


class Link:
    """Calls to the one Redis server that holds the queue, over a connection made when needed.

    Errors, raised by every call or returned in the list of those made together:
      NotSent      the command was provably not carried out: no connection, or refused by Redis
      NoReply      it was written, and the connection was lost or silent for the time-out
      OutOfMemory  Redis is at its memory limit
      ReplyError   any other error of Redis or of a script

    The circuit is open from a failed attempt to connect to the next good one. While it is open,
    calls fail at once, but for one every 0.1 to 1 s which tries. `locate` is asked for the
    address at every attempt, so that a failover is followed.
    """

    def __init__(
        self,
        locate: Callable[[], Awaitable[Endpoint]],
        *,
        scripts: Sequence[Script] = (),
        client_name: str = "headrace",
        timeout_seconds: float = 1.0,
    ) -> None:
        self._locate = locate
        self._scripts: dict[Argument, Script] = {script.sha.encode(): script for script in scripts}
        self._client_name = client_name
        self._timeout_seconds = timeout_seconds
        self._name = "Redis"
        self._connection: Connection | None = None
        self._attempt: asyncio.Task[Connection | None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._problem = ""
        self._closed = False
        self.client_id: int | None = None
        """What Redis calls the present connection (CLIENT UNBLOCK takes it)."""

    @property
    def state(self) -> Literal["closed", "open"]:
        """The circuit: open while the last attempt to connect has failed."""
        return "open" if self._failures else "closed"

    @property
    def problem(self) -> str | None:
        """Why the circuit is open, in a sentence without secrets; None while it is closed."""
        return self._problem if self._failures else None

    def close(self) -> None:
        """Close for good. Calls in flight get NoReply, later ones NotSent."""
        self._closed = True
        if self._attempt is not None:
            self._attempt.cancel()
        if self._connection is not None and not self._connection.closed:
            self._connection.retire()
            self.drop()

    def drop(self) -> None:
        """Close the connection, whatever it waits for. The next call makes a new one."""
        if self._connection is not None and not self._connection.closed:
            self._connection.fail("the connection was closed here")

    async def call(self, *command: Argument, timeout: float | None = None) -> Reply:
        """Send one command and return its reply.

        `timeout`: in seconds, instead of the link's. A blocking command's must be longer than
        it blocks.
        """
        connection = self._connection
        if connection is None or connection.closed:
            connection = await self.connect()
        reply = await connection.send(
            command, TIMEOUT_TICKS if timeout is None else connection.ticks(timeout)
        )
        if isinstance(reply, QueueError):
            [reply] = await self._mended(connection, [command], [reply], timeout)
            if isinstance(reply, QueueError):
                raise reply
        return reply

    async def call_together(
        self, commands: Sequence[Command], timeout: float | None = None
    ) -> list[Reply]:
        """Send several commands in one write. An error stands in the list instead of a reply.

        Raises only NotSent, and only when none of them was sent.
        """
        if not commands:
            return []
        connection = self._connection
        if connection is None or connection.closed:
            connection = await self.connect()
        ticks = TIMEOUT_TICKS if timeout is None else connection.ticks(timeout)
        if len(commands) == 1:
            replies = [await connection.send(commands[0], ticks)]
        else:
            replies = await exchange(connection, commands, ticks)
        for reply in replies:
            if isinstance(reply, QueueError):
                return await self._mended(connection, commands, replies, timeout)
        return replies

    def evalsha(
        self,
        script: Script,
        keys: Sequence[Argument],
        args: Sequence[Argument],
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, Reply]:
        """Run one of the link's scripts; like `call`."""
        return self.call(*script.command(keys, args), timeout=timeout)

    async def connect(self) -> Connection:
        """The connection, made now if there is none. Calls do this by themselves."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._closed:
            raise NotSent("this link to Redis was closed")
        loop = asyncio.get_running_loop()
        if self._attempt is None:
            if loop.time() < self._retry_at:
                raise NotSent(self._problem)
            self._attempt = loop.create_task(self._try_to_connect())
        elif self._failures:  # only the call that began the attempt waits for it
            raise NotSent(self._problem)
        attempt = self._attempt
        await asyncio.wait((attempt,))  # a cancelled caller does not cancel it for the others
        connection = None if attempt.cancelled() else attempt.result()
        if connection is None:
            raise NotSent(self._problem or "this link to Redis was closed")
        return connection

    async def _try_to_connect(self) -> Connection | None:
        connection: Connection | None = None
        endpoint: Endpoint | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                endpoint = await self._locate()
                self._name = str(endpoint)
                connection = await dial(endpoint, self._timeout_seconds)
                await self._greet(connection, endpoint)
        except (OSError, QueueError) as error:
            tls = endpoint is not None and endpoint.tls is not None
            self._open_circuit(why_not_connected(error, self._name, self._timeout_seconds, tls=tls))
            return None
        else:
            self._connection, connection = connection, None
            self._failures = 0
            self._problem = ""
            return self._connection
        finally:
            if connection is not None:
                connection.fail("the connection was given up")
            self._attempt = None

    async def _greet(self, connection: Connection, endpoint: Endpoint) -> None:
        commands = greeting(endpoint, self._client_name, self._scripts.values())
        replies = await exchange(connection, commands)
        closed = connection.reason if connection.closed else None
        self.client_id = welcomed(endpoint, replies, closed)

    def _open_circuit(self, problem: str) -> None:
        backoff = FIRST_BACKOFF_SECONDS * 2 ** min(self._failures, 10)
        backoff = min(LONGEST_BACKOFF_SECONDS, backoff) * random.uniform(0.5, 1.0)
        self._retry_at = asyncio.get_running_loop().time() + backoff
        self._failures += 1
        self._problem = problem

    def _leave(self, connection: Connection) -> None:
        connection.retire()
        if self._connection is connection:
            self._connection = None

    async def _mended(
        self,
        connection: Connection,
        commands: Sequence[Command],
        replies: list[Reply],
        timeout: float | None,
    ) -> list[Reply]:
        """Send again, once, what was provably not run as a script or the master was missing."""
        again, loads, moved = not_run(commands, replies, self._scripts)
        if again:
            if moved:
                self._leave(connection)
            try:
                connection = await self.connect()
                ticks = TIMEOUT_TICKS if timeout is None else connection.ticks(timeout)
                sent = [*loads, *(commands[i] for i in again)]
                answers = (await exchange(connection, sent, ticks))[len(loads) :]
            except NotSent as error:
                answers = [NotSent(*error.args) for _ in again]
            for i, answer in zip(again, answers, strict=True):
                replies[i] = answer
            lost = [a for a in answers if isinstance(a, ReplyError) and a.code in MOVED]
            if lost and self._connection is connection:
                self._leave(connection)
                self._open_circuit(str(explained(lost[0], self._name)))
        return [
            explained(reply, self._name) if isinstance(reply, ReplyError) else reply
            for reply in replies
        ]

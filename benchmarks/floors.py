"""The floors: single SETs on one connection, by three clients, with nothing around them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
import redis
import redis.asyncio

KEY = "floor"
VALUE = b"x" * 50
CHUNK = 50
"""The clock is read once in so many commands."""

_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


def sync_sets(url: str, seconds: float) -> float:
    """SETs a second by redis-py, blocking: "the floor"."""
    with redis.Redis.from_url(url) as client:
        client.set(KEY, VALUE)
        done, began = 0, time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            for _ in range(CHUNK):
                client.set(KEY, VALUE)
            done += CHUNK
        return done / (time.perf_counter() - began)


async def asyncio_sets(url: str, seconds: float) -> float:
    """SETs a second by redis.asyncio."""
    async with redis.asyncio.Redis.from_url(url, single_connection_client=True) as client:
        await client.set(KEY, VALUE)
        done, began = 0, time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            for _ in range(CHUNK):
                await client.set(KEY, VALUE)
            done += CHUNK
        return done / (time.perf_counter() - began)


async def raw_sets(url: str, seconds: float) -> float:
    """SETs a second by hiredis over an asyncio Protocol: "the raw floor"."""
    connection = await raw_connection(url)
    try:
        done, began = 0, time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            for _ in range(CHUNK):
                await connection.call(b"SET", KEY, VALUE)
            done += CHUNK
        return done / (time.perf_counter() - began)
    finally:
        connection.close()


class RawConnection(asyncio.Protocol):
    """The least that can ask Redis something: no time-outs, no errors, no reconnecting."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._pending.popleft().set_result(reply)

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Send one command."""
        future = self._loop.create_future()
        self._pending.append(future)
        self._transport.write(_pack(command))
        return future

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()


async def raw_connection(url: str) -> RawConnection:
    """A connection to the server of a `redis://host:port/db` URL, its database chosen."""
    options = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(RawConnection, options["host"], options["port"])
    await connection.call(b"SELECT", options.get("db", 0))
    return connection

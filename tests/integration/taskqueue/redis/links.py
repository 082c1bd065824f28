"""Links that count their attempts, and what tests of links do with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from headrace.taskqueue.errors import NotSent
from headrace.taskqueue.redis.connection import Endpoint, Script
from headrace.taskqueue.redis.link import LONGEST_BACKOFF_SECONDS, Link
from tests.servers import RedisServer

TIMEOUT_SECONDS = 0.3

COUNT = Script(b"return redis.call('INCR', KEYS[1])")
ADD = Script(b"return redis.call('INCRBY', KEYS[1], ARGV[1])")
FAIL = Script(b"return redis.error_reply('EPOCH abc')")


class LinkFactory(Protocol):
    """What the fixture `new_link` is."""

    def __call__(self, *endpoints: Endpoint, **options: Any) -> CountingLink: ...


class CountingLink(Link):
    """A link that goes through endpoints, one an attempt, stays with the last, and counts."""

    def __init__(self, *endpoints: Endpoint, **options: Any) -> None:
        self.attempts = 0

        async def locate() -> Endpoint:
            self.attempts += 1
            return endpoints[min(self.attempts, len(endpoints)) - 1]

        super().__init__(locate, **{"timeout_seconds": TIMEOUT_SECONDS, **options})


def at(server: RedisServer, **options: Any) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=server.port, **options)


async def soon_again(link: Link) -> None:
    """Wait until the link is connected; fails after a time that every back-off is shorter than."""
    deadline = time.monotonic() + LONGEST_BACKOFF_SECONDS + 2
    while True:
        try:
            await link.call("PING")
            return
        except NotSent:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def blocked(server: RedisServer) -> None:
    """Wait until a client waits on a list."""
    while not server.client.info("clients")["blocked_clients"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def failure(call: Awaitable[Any]) -> Exception | None:
    """What the call raised."""
    try:
        await call
    except Exception as error:
        return error
    return None

"""Requests that are held open on purpose: how many there may be, and what ends them early."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headrace_api.http.problems import BUSY_RETRY_AFTER_SECONDS, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from headrace.contract import ProblemType
    from headrace_api.http.lifecycle import Lifecycle

IS_HEAD = "headrace.is_head"
"""In the scope of a HEAD request, which is answered as a GET: nothing is held for it."""

HELD_SECONDS = "headrace.held_seconds"
"""Where in the scope stands how long a request was held: no part of the time to answer it."""


class Held:
    """Requests of one kind. `setting` is the name of the setting that `most` comes from."""

    def __init__(
        self, kind: str, lifecycle: Lifecycle, most: int, busy: ProblemType, setting: str
    ) -> None:
        self.kind = kind
        """For metrics."""
        self.most = most
        self._lifecycle = lifecycle
        self._busy = busy
        self._setting = setting
        self._limits: set[asyncio.Timeout] = set()
        lifecycle.on_stop(self.release)

    @property
    def stopping(self) -> bool:
        """Whether the server stops, and holds no request."""
        return self._lifecycle.stopping

    @property
    def count(self) -> int:
        """How many are held now."""
        return len(self._limits)

    @asynccontextmanager
    async def hold(self, request: Request, seconds: float | None) -> AsyncIterator[None]:
        """Run what waits. It is cut off, without an error, after so many seconds.

        Earlier when the server begins to stop, or the client goes away. Raises the 503 problem
        when too many are held.
        """
        if self.count >= self.most:
            raise self.too_many(f"{self.most} requests are held open, which is {self._setting}")
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit = asyncio.timeout(0.0 if self._lifecycle.stopping else seconds)
        try:
            async with limit:
                self._limits.add(limit)
                leaving = asyncio.create_task(_until_left(request, limit))
                try:
                    yield
                finally:
                    leaving.cancel()
                    self._limits.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            request.scope[HELD_SECONDS] = loop.time() - began

    def release(self) -> None:
        """Cut all of them off now."""
        for limit in self._limits:
            _end(limit)

    def too_many(self, reason: str) -> Problem:
        """The 503 problem."""
        return Problem(
            self._busy,
            f"{reason}: try again later",
            retry_after_seconds=BUSY_RETRY_AFTER_SECONDS,
        )


async def _until_left(request: Request, limit: asyncio.Timeout) -> None:
    """Cut the request off when its client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    _end(limit)


def _end(limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())

"""The readers that ask each API for its stats, each second."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable

import structlog

from controller.api import Address, Api
from controller.model import Reading, Reason, Unread
from controller.resource import Autoscaler, InvalidSpec

POLL_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 4.0
"""After a failure: doubled with each, and drawn from its upper half."""

log = structlog.get_logger("controller.polling")


def pause_seconds(failures: int, draw: Callable[[], float]) -> float:
    """How long to wait after so many failures in a row; `draw` gives a number from 0 to 1."""
    most = min(SHORTEST_PAUSE_SECONDS * 2.0 ** min(failures, 8), LONGEST_PAUSE_SECONDS)
    return most * (1 + draw()) / 2


class Reader:
    """Asks one API for the stats, each second, until it is closed."""

    def __init__(
        self,
        api: Api,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        """`tell` is called when a poll has ended."""
        self.api = api
        self.latest: Reading | Unread | None = None
        """What the last poll brought; None: none has ended yet."""
        self.asked_at = 0.0
        """When that poll began, by the monotonic clock: its reading is not older."""
        self._draw = draw
        self._clock = clock
        self._tell = tell
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        failures = 0
        while True:
            asked_at = self._clock()
            found = await self._read()
            self.latest, self.asked_at = found, asked_at
            self._tell()
            if isinstance(found, Unread):
                failures += 1
                await asyncio.sleep(pause_seconds(failures, self._draw))
            else:
                failures = 0
                await asyncio.sleep(max(asked_at + POLL_SECONDS - self._clock(), 0.0))

    async def _read(self) -> Reading | Unread:
        try:
            return await self.api.stats()
        except Exception as error:
            # Nothing may end the polling: the last reading would stand for ever.
            log.exception("stats.failed", url=self.api.url)
            return Unread(Reason.STATS_UNAVAILABLE, f"the stats could not be read: {error!r}")

    async def close(self) -> None:
        """Stop asking."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.api.close()


class Readers:
    """A reader for each address that a resource names."""

    def __init__(self, connect: Callable[[Address], Api]) -> None:
        self._connect = connect
        self._readers: dict[Address, Reader] = {}
        self._news = asyncio.Event()

    def of(self, autoscaler: Autoscaler) -> Reader:
        """The resource's reader, begun when it is asked for first."""
        address = _address(autoscaler)
        if address not in self._readers:
            self._readers[address] = Reader(self._connect(address), tell=self._news.set)
        return self._readers[address]

    def asked_at(self, autoscaler: Autoscaler | InvalidSpec) -> float | None:
        """When the resource's last poll began; None: there is no reader of it."""
        if isinstance(autoscaler, InvalidSpec):
            return None
        reader = self._readers.get(_address(autoscaler))
        return reader.asked_at if reader else None

    async def news(self, seconds: float) -> None:
        """Wait until a poll of any reader has ended since the last call, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def keep(self, autoscalers: Iterable[Autoscaler]) -> None:
        """Close the readers of all but these."""
        used = {_address(autoscaler) for autoscaler in autoscalers}
        unused = self._readers.keys() - used
        await asyncio.gather(*(self._readers.pop(address).close() for address in unused))


def _address(autoscaler: Autoscaler) -> Address:
    return autoscaler.url, autoscaler.identity.namespace, autoscaler.secret

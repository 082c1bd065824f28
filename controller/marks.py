"""Drain marks: sets, renews and removes them through the API, and decides which answers count.

A mark is a lease of 60 s in Redis: unrenewed, the worker claims again by itself. So an
acknowledgement counts only if this process knows that the mark has held without a break since
before the reading was taken, and still does. Those of an operator before it may have run out
between the reading and the smaller size that is written for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace

from controller.api import Api, ApiError
from controller.each import each
from controller.model import Reading

RENEW_SECONDS = 20.0
TRUSTED_SECONDS = 40.0
"""A mark that was renewed longer ago does not count: it may end before a smaller size is written
and its pod is gone, or has ended by a clock that runs faster."""
KEEPING_SECONDS = 4.0
"""All that is asked of the API in a round ends within this time."""
AT_ONCE = 10
"""Calls under way at a time: the reader of the stats has the same connections."""


@dataclass(frozen=True)
class Mark:
    """A mark that the API confirmed. By the monotonic clock."""

    since: float
    """From here on it has held without a break."""
    renewed_at: float
    """When the last call began that set or renewed it."""

    def holds(self, now: float) -> bool:
        """Whether it can be relied on."""
        return now - self.renewed_at < TRUSTED_SECONDS


def corrected(reading: Reading, asked_at: float, marks: Mapping[str, Mark], now: float) -> Reading:
    """The reading, by what this process knows better of the marks.

    Args:
        reading: what the API told.
        asked_at: when it was asked for; it is not older. Like all times here: monotonic.
        marks: this process's own, by worker.
        now: this moment.
    """
    workers = []
    for worker in reading.workers:
        mark = marks.get(worker.id)
        held = mark is not None and mark.holds(now)
        counts = held and mark is not None and mark.since <= asked_at
        workers.append(
            replace(
                worker,
                # Marked since: the reading does not show it yet.
                draining=worker.draining or (held and not counts),
                drained=worker.drained and counts,
            )
        )
    return replace(reading, workers=tuple(workers))


class Marks:
    """The marks that one resource needs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[str, Mark] = {}

    def acknowledged(self, reading: Reading, asked_at: float) -> Reading:
        """The reading, with only those workers drained whose acknowledgement counts."""
        return corrected(reading, asked_at, self._marks, self._clock())

    async def keep(self, api: Api, workers: Collection[str]) -> None:
        """Mark workers that are not, renew marks that need it.

        One that is gone counts as marked: it holds nothing. Raises ApiError unless all are marked
        now.
        """
        now = self._clock()
        self._marks = {worker: mark for worker, mark in self._marks.items() if mark.holds(now)}
        due = [
            worker
            for worker in workers
            if worker not in self._marks or now - self._marks[worker].renewed_at > RENEW_SECONDS
        ]
        await _all(due, lambda worker: self._mark(api, worker))

    async def lift(self, api: Api, workers: Collection[str]) -> None:
        """Take marks away. Raises ApiError; what could not be lifted ends by itself."""
        await _all(workers, lambda worker: self._lift(api, worker))

    async def _mark(self, api: Api, worker: str) -> None:
        begun = self._clock()
        if not await api.drain(worker):
            self._marks.pop(worker, None)
            return
        mark, now = self._marks.get(worker), self._clock()
        unbroken = mark is not None and mark.holds(now)
        self._marks[worker] = Mark(mark.since if mark and unbroken else now, begun)

    async def _lift(self, api: Api, worker: str) -> None:
        # Before the answer: it may be lost, and the mark lifted.
        self._marks.pop(worker, None)
        await api.undrain(worker)


async def _all(workers: Collection[str], call: Callable[[str], Awaitable[None]]) -> None:
    """Call for each worker. Raises the first ApiError."""
    try:
        async with asyncio.timeout(KEEPING_SECONDS):
            await each(workers, call, at_once=AT_ONCE)
    except TimeoutError:
        raise ApiError(
            0, f"the API took longer than {KEEPING_SECONDS:g} s to mark {len(workers)} workers"
        ) from None

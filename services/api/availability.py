"""Whether Redis can be used: the circuit, and the probe that closes it again.

A call that finds Redis away opens the circuit; while it is open nobody waits for Redis. The probe
asks for the stats all the time: its answer closes the circuit, feeds the metrics, and keeps the
queue's clock of leases going while no worker is alive.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from headrace.logs import get_logger
from headrace.taskqueue import NotSent, QueueError, QueueUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.taskqueue import Stats, TaskQueue

log = get_logger(__name__)

PROBE_SECONDS = 1.0
"""Between two readings while Redis answers."""
PROBE_AWAY_SECONDS = 0.25
"""Between two tries while it does not: how soon the way back is found."""
START_SECONDS = 10.0
"""An API that has not heard from Redis for so long since its start is ready all the same."""


class RedisState(StrEnum):
    """As shown by `/readyz`."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    DISABLED = "disabled"


class Availability:
    """The circuit to Redis. Without a queue (switched off) it is for ever `disabled`."""

    def __init__(
        self,
        queue: TaskQueue | None,
        known_types: Callable[[], tuple[str, ...]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._known_types = known_types
        self._clock = clock
        self._started_at = clock()
        self._state = RedisState.DISABLED if queue is None else RedisState.UNKNOWN
        self._lost = asyncio.Event()
        self.answered_once = False
        self.stats: Stats | None = None
        """The probe's last reading; None while Redis is away."""

    @property
    def state(self) -> RedisState:
        """What is known of Redis now."""
        return self._state

    @property
    def usable(self) -> bool:
        """Whether the circuit is closed. At the start it is."""
        return self._state in (RedisState.AVAILABLE, RedisState.UNKNOWN)

    @property
    def ready(self) -> bool:
        """Whether requests may come: Redis has answered once, is switched off, or had its time."""
        return (
            self.answered_once
            or self._queue is None
            or self._clock() - self._started_at >= START_SECONDS
        )

    def require(self) -> None:
        """Raise NotSent at once while the circuit is open."""
        if not self.usable:
            raise NotSent("Redis did not answer a moment ago, and has not been asked now")

    def lost(self, error: QueueUnavailable) -> None:
        """A call found Redis away: open the circuit until the probe hears from it again."""
        if self._state is not RedisState.UNAVAILABLE:
            log.warning("redis.unavailable", error=str(error))
        self._state = RedisState.UNAVAILABLE
        self.stats = None
        self._lost.set()

    async def probe(self, queue: TaskQueue) -> None:
        """Ask Redis once, and note what it says."""
        try:
            stats = await queue.stats(self._known_types())
        except QueueUnavailable as error:
            self.lost(error)
            return
        except QueueError as error:
            # It answers, and cannot be used as it is: a newer layout, say. Each request that
            # needs it says so itself.
            log.error("redis.probe_failed", error=str(error))
            self.stats = None
        else:
            self.stats = stats
        if self._state is RedisState.UNAVAILABLE:
            log.info("redis.available_again")
        self._state = RedisState.AVAILABLE
        self.answered_once = True

    async def run(self) -> None:
        """Probe for ever; without a queue there is nothing to do."""
        if self._queue is None:
            return
        while True:
            self._lost.clear()
            try:
                await self.probe(self._queue)
            except Exception:
                # The probe is the only way back: it outlives any defect in a reading.
                log.exception("redis.probe_failed")
            if self._state is RedisState.UNAVAILABLE:
                await asyncio.sleep(PROBE_AWAY_SECONDS)
                continue
            # Not `wait_for`: Python 3.11's loses a cancellation that comes together with the event.
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._lost.wait()
            except TimeoutError:
                continue

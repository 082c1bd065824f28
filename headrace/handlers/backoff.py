"""How long a failed task waits before it is retried: exponential back-off with full jitter.

`random(0, min(cap, base * 2 ** n))`, from Marc Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015. Of the variants compared there, full jitter needs the fewest calls to get
competing clients through: a fixed share of the delay would let failed tasks return as a herd.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

_MAX_DOUBLINGS = 62
MAX_SECONDS = 365 * 86_400
"""A longer delay is a mistake: a year."""


class Backoff(msgspec.Struct, frozen=True):
    """The bounds of the delay between two attempts. Raises ValueError for a bound out of range."""

    base_seconds: float = 1.0
    """The longest delay after the first failure; it doubles with each further one."""
    cap_seconds: float = 300.0
    """No delay is longer than this."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds: object = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
                raise ValueError(
                    f"Backoff: {name} is {seconds!r}, it must be a number from 0 to {MAX_SECONDS}"
                )

    def ceiling(self, failures: int) -> float:
        """The longest delay in seconds after this many earlier failures (0: the first failure)."""
        doublings = min(max(failures, 0), _MAX_DOUBLINGS)
        return min(self.cap_seconds, self.base_seconds * 2.0**doublings)

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """The delay in seconds. `random` draws from 0 (included) to 1 (excluded)."""
        return self.ceiling(failures) * random()


DEFAULT_BACKOFF = Backoff()

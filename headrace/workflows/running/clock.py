"""A run's time: what expressions see and time-outs are counted from. Pure.

It stands still between steps with effects, so that what is computed again comes out the same: it is
when the last such step ended, or a later attempt went on after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace.workflows.model import Deadline

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, UTC."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The reverse of `to_ms`."""
    return _EPOCH + milliseconds * _MILLISECOND


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class RunClock:
    """The time of a run that may go on from saved steps.

    Args:
        now: the clock.
        started_at_ms: when the run's first attempt began.
        saved_ms: what the run's time was before each of its saved steps, in their order.
    """

    __slots__ = ("_saved_ms", "_used", "now", "time")

    def __init__(
        self, now: Callable[[], datetime], started_at_ms: int, saved_ms: Sequence[int]
    ) -> None:
        self.now = now
        self.time = from_ms(saved_ms[0] if saved_ms else started_at_ms)
        self._saved_ms = saved_ms
        self._used = 0

    @property
    def live(self) -> bool:
        """Whether what happens now happens for the first time."""
        return self._used >= len(self._saved_ms)

    def advance(self, ended_at_ms: int, *, saved: bool) -> None:
        """Let the time go on after a step with effects; `saved`: an earlier attempt's."""
        self.time = max(self.time, from_ms(ended_at_ms))
        if not saved:
            return
        self._used += 1
        if self.live:
            # From here on this attempt is the first: what it does is done now.
            self.time = max(self.time, self.now())
        else:
            self.time = from_ms(self._saved_ms[self._used])

    def check(self, deadline: Deadline | None) -> None:
        """Raise WorkflowError if the deadline has passed."""
        if deadline is None:
            return
        # While saved steps remain, this part of the run lies in the past, whatever the clock says.
        now = max(self.time, self.now()) if self.live else self.time
        if now >= deadline.at:
            raise deadline.passed()


def describe_time(moment: datetime) -> dict[str, Any]:
    """The language's description of a time (DSL, "DateTime Descriptor")."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    milliseconds = to_ms(moment)
    return {
        "iso8601": text,
        "epoch": {"seconds": milliseconds // 1000, "milliseconds": milliseconds},
    }

"""Times as they are saved, and as expressions see them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

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


def describe_time(moment: datetime) -> dict[str, Any]:
    """The language's description of a time (DSL, "DateTime Descriptor")."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    milliseconds = to_ms(moment)
    return {
        "iso8601": text,
        "epoch": {"seconds": milliseconds // 1000, "milliseconds": milliseconds},
    }

"""Durations: mappings, ISO 8601 texts, and expressions that give one of them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from headrace.workflows.model import Duration, Template
from headrace.workflows.reading.cursor import Cursor, kind_of
from headrace.workflows.reading.expressions import STEP_BODY, read_runtime_expression

UNITS = ("days", "hours", "minutes", "seconds", "milliseconds")
MAX_DURATION = timedelta(days=3650)

_NUMBER = r"(\d+(?:\.\d+)?)"
_ISO_8601 = re.compile(
    rf"P(?!$)(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)


def parse_iso8601(text: str) -> timedelta:
    """An ISO 8601 duration. Raises ValueError with a sentence."""
    match = _ISO_8601.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT1M30S")
    years, months, weeks, days, hours, minutes, seconds = (
        None if part is None else float(part) for part in match.groups()
    )
    if years or months:
        raise ValueError(f"{text!r}: years and months have no fixed length, use days")
    return _bounded(
        days=days or 0,
        weeks=weeks or 0,
        hours=hours or 0,
        minutes=minutes or 0,
        seconds=seconds or 0,
    )


def parse_value(value: Any) -> timedelta:
    """A duration that an expression gave. Raises ValueError with a sentence."""
    if isinstance(value, str):
        return parse_iso8601(value)
    if not isinstance(value, dict):
        raise ValueError(f"a duration must be an ISO 8601 text or a mapping, not {kind_of(value)}")
    if not value:
        raise ValueError(f"a duration needs one of {', '.join(UNITS)}")
    for unit, amount in value.items():
        if unit not in UNITS:
            raise ValueError(f"a duration has {', '.join(UNITS)}, not {unit!r}")
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise ValueError(f"`{unit}` must be a whole number, not {amount!r}")
        if amount < 0:
            raise ValueError(f"`{unit}` is negative")
    return _bounded(**value)


def read_duration(cursor: Cursor, allowed: frozenset[str] = STEP_BODY) -> Duration:
    """A duration in a definition."""
    if isinstance(cursor.value, str) and "${" in cursor.value:
        expression = read_runtime_expression(cursor, allowed)
        return Duration(None, Template(expression, (expression,)))
    try:
        return Duration(parse_value(cursor.value))
    except ValueError as error:
        cursor.refuse(str(error))


def read_timeout(cursor: Cursor, allowed: frozenset[str] = STEP_BODY) -> Duration:
    """The duration under `after`."""
    return read_duration(cursor.mapping({"after"}, ("after",))["after"], allowed)


def _bounded(**parts: float) -> timedelta:
    try:
        duration = timedelta(**parts)
    except OverflowError:
        duration = timedelta.max
    if duration > MAX_DURATION:
        raise ValueError(f"the duration is over the limit of {MAX_DURATION.days} days")
    return duration

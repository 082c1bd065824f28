"""Durations (DSL reference, "Duration") as mappings and as ISO 8601 texts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workflows.reading.durations import parse_iso8601, parse_value

_parts = st.fixed_dictionaries(
    {},
    optional={
        "days": st.integers(0, 300),
        "hours": st.integers(0, 100),
        "minutes": st.integers(0, 100),
        "seconds": st.integers(0, 100),
    },
).filter(bool)


@given(_parts)
def test_a_mapping_and_its_iso_8601_text_are_the_same_duration(parts: dict[str, int]) -> None:
    time = "".join(
        f"{parts[unit]}{unit[0].upper()}"
        for unit in ("hours", "minutes", "seconds")
        if unit in parts
    )
    text = "P" + (f"{parts['days']}D" if "days" in parts else "") + (f"T{time}" if time else "")
    assert parse_iso8601(text) == parse_value(parts) == timedelta(**parts)


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT0.25S", 0.25), ("P2W", 1_209_600), ("PT1.5M", 90), ("PT0S", 0)]
)
def test_fractions_and_weeks_are_read(text: str, seconds: float) -> None:
    assert parse_iso8601(text).total_seconds() == seconds


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("10 seconds", "not an ISO 8601 duration"),
        ("P", "not an ISO 8601 duration"),
        ("PT", "not an ISO 8601 duration"),
        ("-PT1S", "not an ISO 8601 duration"),
        ("P1M", "no fixed length"),
        ("P1Y", "no fixed length"),
        (f"PT{'9' * 400}S", "over the limit"),
        ({}, "needs one of"),
        ({"seconds": -1}, "negative"),
        ({"seconds": 1.5}, "whole number"),
        ({"seconds": True}, "whole number"),
        ({"seconds": "1"}, "whole number"),
        ({"weeks": 1}, "not 'weeks'"),
        ({"days": 10**30}, "over the limit"),
        (5, "must be"),
        (None, "must be"),
    ],
)
def test_what_is_no_duration_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_value(value)

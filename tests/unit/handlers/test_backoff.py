"""The delay before a retry: exponential, bounded, with full jitter."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.handlers import Backoff

fractions = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(0, 1.0), (1, 2.0), (2, 4.0), (8, 256.0), (9, 300.0), (100, 300.0)]
)
def test_the_ceiling_doubles_up_to_the_cap(failures: int, ceiling: float) -> None:
    assert Backoff(base_seconds=1, cap_seconds=300).ceiling(failures) == ceiling


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 1e9, "5", None])
@pytest.mark.parametrize("name", ["base_seconds", "cap_seconds"])
def test_a_bound_that_no_delay_can_have_is_refused(name: str, seconds: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*, it must be a number from 0"):
        Backoff(**{name: seconds})


@given(st.integers(min_value=0, max_value=10_000), fractions)
def test_the_delay_is_a_share_of_the_ceiling(failures: int, drawn: float) -> None:
    backoff = Backoff(base_seconds=0.5, cap_seconds=60)
    delay = backoff.delay(failures, lambda: drawn)
    assert delay == backoff.ceiling(failures) * drawn
    assert 0 <= delay <= 60


@given(st.integers(min_value=0, max_value=200))
def test_the_ceiling_never_falls(failures: int) -> None:
    backoff = Backoff()
    assert backoff.ceiling(failures) <= backoff.ceiling(failures + 1) <= backoff.cap_seconds

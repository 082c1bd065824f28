"""Which types are claimed ahead of, from how long attempts and round trips took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_worker.ahead import ENOUGH, TIMES_THE_FREE_SLOTS, Pace

SECONDS = st.floats(0, 10)
ENDS = st.lists(st.tuples(st.sampled_from(["a", "b"]), SECONDS), max_size=100)


def pace_of(ends: list[tuple[str, float]], round_trip: float) -> Pace:
    pace = Pace()
    for _ in range(100):
        pace.answered(round_trip)
    for task_type, seconds in ends:
        pace.ended(task_type, seconds)
    return pace


@given(ENDS, SECONDS, st.integers(1, 1000))
def test_never_more_than_the_bound_and_never_of_a_type_that_was_just_slow(
    ends: list[tuple[str, float]], round_trip: float, free: int
) -> None:
    ahead = pace_of(ends, round_trip).ahead(free)
    if ahead is None:
        return
    assert 0 < ahead.limit <= free * (TIMES_THE_FREE_SLOTS - 1)
    assert free + ahead.limit <= ENOUGH
    last = dict(ends)
    assert ahead.types
    for task_type in ahead.types:
        assert last[task_type] < 8 * round_trip


@given(ENDS, st.floats(0.001, 1), st.integers(1, ENOUGH - 1))
def test_whatever_was_before_many_quick_attempts_make_a_type_quick(
    ends: list[tuple[str, float]], round_trip: float, free: int
) -> None:
    ahead = pace_of([*ends, *[("a", round_trip / 2)] * 100], round_trip).ahead(free)
    assert ahead is not None
    assert "a" in ahead.types


@given(st.floats(0.001, 1))
def test_a_type_of_which_little_is_known_is_not_claimed_ahead(round_trip: float) -> None:
    assert pace_of([("a", 0.0)] * 5, round_trip / 2).ahead(10) is None


def test_a_slow_type_leaves_the_quick_one_quick() -> None:
    pace = pace_of([("a", 0.0), ("b", 1.0)] * 100, 0.01)
    ahead = pace.ahead(10)
    assert ahead is not None
    assert (ahead.limit, list(ahead.types)) == (30, ["a"])


def test_large_claims_are_not_made_larger() -> None:
    assert pace_of([("a", 0.0)] * 100, 0.01).ahead(ENOUGH) is None

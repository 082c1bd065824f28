"""How the end of an attempt becomes what the queue is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import taskqueue as tq
from headrace.handlers import Backoff, Outcome, Park, Raised, Returned, Stopped, StopReason
from headrace_worker.settling import call_of, settlement_for
from tests.unit.worker.fake_queue import claimed_task

TASK = claimed_task("t-1", retry_count=2)
BACKOFF = Backoff(base_seconds=1.0, cap_seconds=60.0)


@pytest.mark.parametrize(
    ("outcome", "settlement"),
    [
        (Returned(b"1"), tq.Completed(TASK, b"1", 13)),
        (Raised("E: x", retryable=False), tq.Failed(TASK, "E: x", None, 13)),
        (Raised("E: x", retryable=True), tq.Failed(TASK, "E: x", 2000, 13)),
        (
            Park(None, b"state", wake_on="inbox"),
            tq.Parked(TASK, None, b"state", 13, wake_on="inbox"),
        ),
        (
            Park(datetime(2026, 1, 1, tzinfo=UTC), b"state"),
            tq.Parked(TASK, 1_767_225_600_000, b"state", 13),
        ),
        (Stopped(StopReason.CANCELLED), tq.Cancelled(TASK, 13)),
        (Stopped(StopReason.HANDED_BACK), tq.Released(TASK, 13)),
        (Stopped(StopReason.UNFIT), tq.Released(TASK)),
    ],
)
def test_each_outcome_has_its_settlement(outcome: Outcome, settlement: tq.Settlement) -> None:
    assert settlement_for(TASK, outcome, 0.0125, BACKOFF, lambda: 0.5) == settlement


@given(st.integers(min_value=0, max_value=100), st.floats(0, 1, exclude_max=True))
def test_the_delay_of_a_retry_stays_within_the_back_off(retries: int, drawn: float) -> None:
    task = claimed_task("t-1", retry_count=retries)
    settlement = settlement_for(task, Raised("E", retryable=True), 0.0, BACKOFF, lambda: drawn)
    assert isinstance(settlement, tq.Failed)
    assert settlement.retry_delay_ms is not None
    assert 0 <= settlement.retry_delay_ms <= BACKOFF.ceiling(retries) * 1000 + 1


def test_a_run_time_is_never_zero_for_work_that_was_done() -> None:
    settlement = settlement_for(TASK, Returned(b"1"), 0.00001, BACKOFF, lambda: 0.5)
    assert settlement == tq.Completed(TASK, b"1", 1)


def test_a_time_before_1970_has_passed_like_any_other() -> None:
    settlement = settlement_for(
        TASK, Park(datetime.min.replace(tzinfo=UTC), b""), 0.0, BACKOFF, lambda: 0.5
    )
    assert settlement == tq.Parked(TASK, 0, b"", 0)


SMALL = tq.Completed(TASK, b"1", 1)


@pytest.mark.parametrize(
    "large",
    [
        tq.Completed(TASK, b"x" * (tq.ENOUGH_BYTES // 2), 1),
        tq.Parked(TASK, 0, b"x" * (tq.ENOUGH_BYTES // 2), 1),
        tq.Failed(TASK, "x" * (tq.ENOUGH_BYTES // 2), None, 1),
    ],
)
def test_a_call_carries_no_more_bytes_than_get_through(large: tq.Settlement) -> None:
    assert call_of([SMALL, large, SMALL, large, large, SMALL]) == [SMALL, large, SMALL, large]
    assert call_of([large]) == [large]


def test_a_call_carries_no_more_moves_than_a_script_takes() -> None:
    released = tq.Released(TASK)
    assert len(call_of([SMALL, released, tq.Cancelled(TASK, 1)] * 500)) == tq.MAX_BATCH
    assert call_of([]) == []

"""The states of a task and the moves between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from headrace.taskqueue.task import (
    ALLOWED_MOVES,
    FINAL,
    ClaimedTask,
    Task,
    TaskStatus,
    allowed,
    milliseconds,
    utc,
)

MOVES = {
    "pending": {"queued", "cancelled"},
    "queued": {"running", "cancelled"},
    "running": {"pending", "queued", "completed", "failed", "cancelled"},
    "completed": set(),
    "failed": {"queued"},
    "cancelled": {"queued"},
}


@pytest.mark.parametrize("before", TaskStatus)
@pytest.mark.parametrize("after", TaskStatus)
def test_a_move_is_allowed_just_where_the_design_has_an_arrow(
    before: TaskStatus, after: TaskStatus
) -> None:
    assert allowed(before, after) is (after.value in MOVES[before.value])


def test_a_final_state_is_left_by_a_retry_only() -> None:
    assert {status.value for status in FINAL} == {"completed", "failed", "cancelled"}
    for status in TaskStatus:
        assert status.final is (status in FINAL)
        if status.final:
            assert ALLOWED_MOVES[status] <= {TaskStatus.QUEUED}


def test_failures_and_crashes_make_attempts() -> None:
    task = Task(
        id="1", type="t", status=TaskStatus.RUNNING, created_at=utc(0), retry_count=2, crash_count=1
    )
    claimed = ClaimedTask(
        id="1",
        type="t",
        payload=b"1",
        fence=9,
        created_at_ms=0,
        started_at_ms=0,
        retry_count=2,
        crash_count=1,
        max_retries=3,
    )
    assert task.attempt == claimed.attempt == 4


@pytest.mark.parametrize("ms", [0, 1, 1_760_000_000_001, 1_760_000_000_999, 1_763_966_400_123])
def test_times_pass_through_redis_to_the_millisecond(ms: int) -> None:
    assert utc(ms).tzinfo is UTC
    assert milliseconds(utc(ms)) == ms


def test_a_time_that_no_datetime_can_tell_is_the_end_of_time() -> None:
    west = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
    assert utc(milliseconds(west)) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_fractions_of_a_millisecond_are_cut_off() -> None:
    assert milliseconds(datetime(2026, 1, 1, 0, 0, 0, 1999, tzinfo=UTC)) % 1000 == 1

"""Turns an attempt's outcome into its settlement. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import assert_never

from headrace import taskqueue as tq
from headrace.handlers import (
    Backoff,
    Outcome,
    Park,
    Raised,
    Returned,
    Stopped,
    StopReason,
    traceback_of,
)


def settlement_for(
    claimed: tq.ClaimedTask,
    outcome: Outcome,
    seconds: float,
    backoff: Backoff,
    random: Callable[[], float],
) -> tq.Settlement:
    """The settlement for an outcome.

    Args:
        claimed: the task.
        outcome: how its attempt ended.
        seconds: how long it ran.
        backoff: how long a failed task waits for its retry.
        random: draws from 0 (included) to 1 (excluded).
    """
    # Rounded up: a mean of 0 would tell the operator that tasks need no workers.
    run_ms = math.ceil(seconds * 1000)
    match outcome:
        case Returned(result):
            return tq.Completed(claimed, result, run_ms)
        case Raised(error, retryable, exception, error_type, problem):
            delay_ms = None
            if retryable:
                delay_ms = math.ceil(backoff.delay(claimed.retry_count, random) * 1000)
            traceback = None if exception is None else traceback_of(exception)
            said = problem or b""
            return tq.Failed(claimed, error, delay_ms, run_ms, error_type, traceback, said)
        case Park(unpark_at, state, wake_on, entries):
            return tq.Parked(claimed, _due_ms(unpark_at), state, run_ms, wake_on, entries)
        case Stopped(StopReason.CANCELLED):
            return tq.Cancelled(claimed, run_ms)
        case Stopped(StopReason.HANDED_BACK):
            return tq.Released(claimed, run_ms)
        case Stopped():
            return tq.Released(claimed)
        case _:
            assert_never(outcome)


def _due_ms(unpark_at: datetime | None) -> int | None:
    """A time before 1970 has passed like any other, and may be more than a record can hold."""
    return None if unpark_at is None else max(0, math.ceil(unpark_at.timestamp() * 1000))


def call_of(settlements: Sequence[tq.Settlement]) -> Sequence[tq.Settlement]:
    """As many of the settlements as one call carries: more might not get through in its time."""
    if len(settlements) > tq.MAX_BATCH:
        settlements = settlements[: tq.MAX_BATCH]
    left, completed = tq.ENOUGH_BYTES, tq.Completed
    for n, settlement in enumerate(settlements, 1):
        if isinstance(settlement, completed):  # most are
            left -= len(settlement.result)
        elif isinstance(settlement, tq.Parked):
            left -= len(settlement.state or b"") + sum(map(len, settlement.entries))
        elif isinstance(settlement, tq.Failed):
            left -= len(settlement.error) + len(settlement.traceback or "")
        if left <= 0:
            return settlements[:n]
    return settlements

"""From how an attempt ended to the move that tells the queue. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

from headrace import taskqueue as tq
from headrace.handlers import Backoff, Outcome, Park, Raised, Returned, Stopped, StopReason


def move_for(
    claimed: tq.ClaimedTask,
    outcome: Outcome,
    seconds: float,
    backoff: Backoff,
    random: Callable[[], float],
) -> tq.Outcome:
    """The move for an outcome.

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
        case Raised(error, retryable):
            delay_ms = None
            if retryable:
                delay_ms = math.ceil(backoff.delay(claimed.retry_count, random) * 1000)
            return tq.Failed(claimed, error, delay_ms, run_ms)
        case Park(resume_at, state):
            return tq.Parked(claimed, math.ceil(resume_at.timestamp() * 1000), state, run_ms)
        case Stopped(StopReason.CANCELLED):
            return tq.Cancelled(claimed, run_ms)
        case Stopped():
            return tq.Released(claimed)
        case _:
            assert_never(outcome)

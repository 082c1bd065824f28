"""Whether and when a step that failed is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from headrace.workflows.errors import fail
from headrace.workflows.model import Flow, RetryPolicy, Scope, is_true

MAX_BACK_OFF = timedelta(hours=1)
"""What a back-off grows to at most, unless the delay that it begins with is longer."""


async def wait_for_retry(
    policy: RetryPolicy, flow: Flow, scope: Scope, attempt: int, error: dict[str, Any]
) -> bool:
    """Let the time before the next attempt pass; False at once if there shall be none.

    `attempt` is the number of the one that failed, from 1. Raises WorkflowError when the scope's
    deadline passes before.
    """
    if policy.when is not None and not is_true(await flow.evaluate(policy.when, error, scope)):
        return False
    if policy.except_when is not None and is_true(
        await flow.evaluate(policy.except_when, error, scope)
    ):
        return False
    if policy.count is not None:
        count = await flow.evaluate(policy.count, scope.input, scope)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            fail("expression", f"`count` must be a whole number of retries, not {count!r}")
        if attempt > count:
            return False
    delay = timedelta(0)
    if policy.delay is not None:
        delay = back_off(policy.backoff, await flow.duration(policy.delay, scope), attempt)
    end = None
    if policy.duration is not None:
        end = scope.started_at + await flow.duration(policy.duration, scope)
        if flow.time + delay >= end:
            return False

    # Nothing to wait for is no wait: steps that fail at once for ever must be noticed.
    if not delay and policy.jitter is None:
        return True

    async def until() -> datetime:
        at = flow.now() + delay
        if policy.jitter is not None:
            least, most = [await flow.duration(edge, scope) for edge in policy.jitter]
            at += least + max(most - least, timedelta(0)) * flow.random()
        return at if end is None else min(at, end)

    await flow.park(until, scope.under("retry", attempt))
    return True


def back_off(kind: str, delay: timedelta, attempt: int) -> timedelta:
    """How long to wait after the n-th attempt, from 1."""
    # Beyond 2^63 the ceiling is reached whatever the delay.
    factor = {"constant": 1, "linear": attempt, "exponential": 2 ** min(attempt - 1, 63)}[kind]
    ceiling = max(delay, MAX_BACK_OFF)
    return ceiling if delay and factor > ceiling / delay else delay * factor

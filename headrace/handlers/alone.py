"""Runs one attempt and waits for its outcome: inside a request, or in a test."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.handlers.context import Context
from headrace.handlers.outcomes import Outcome, Stopped, StopReason
from headrace.handlers.resources import Resources
from headrace.handlers.runner import Attempt
from headrace.handlers.task_type import TaskType


class Ended(msgspec.Struct, frozen=True):
    """What `run_attempt` brings."""

    outcome: Outcome
    seconds: float
    """From the start to the outcome."""
    still_running: asyncio.Future[None] | None
    """Set when the handler's code runs on past its outcome; done when it has ended."""


class Limit(msgspec.Struct, frozen=True):
    """How long an attempt may take where it runs, whatever its task type allows."""

    seconds: float
    outcome: Outcome
    """How an attempt ends that takes longer."""


async def run_attempt(
    task_type: TaskType[Any, Any],
    payload: bytes,
    ctx: Context,
    *,
    resources: Resources | None = None,
    limit: Limit | None = None,
    on_gone: Callable[[], None] | None = None,
) -> Ended:
    """Run a handler once and wait for its outcome; errors of the handler are outcomes too.

    A caller that is cancelled meanwhile stops the attempt. `resources` are by default those that
    all such calls share, without middleware and lifespans. `on_gone` is called once, when no code
    of the attempt runs any more: before this returns, or later (see `Ended.still_running`).
    """
    loop = asyncio.get_running_loop()
    decided: asyncio.Future[None] = loop.create_future()
    gone: asyncio.Future[None] = loop.create_future()

    def tell(_: Attempt) -> None:
        if not decided.done():  # done: the caller was cancelled
            decided.set_result(None)

    def leave(_: Attempt) -> None:
        gone.set_result(None)
        if on_gone is not None:
            on_gone()

    attempt = Attempt(
        task_type,
        ctx,
        on_outcome=tell,
        on_gone=leave,
        resources=resources or _shared(),
    )
    attempt.start(loop, payload)
    timer = None
    if limit is not None:
        timer = loop.call_later(limit.seconds, attempt.stop, limit.outcome, 0.0)
        if task_type.timeout_seconds is None or limit.seconds < task_type.timeout_seconds:
            ctx.set_deadline(time.time() + limit.seconds)
    try:
        await decided
    except asyncio.CancelledError:
        attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=0)
        raise
    finally:
        if timer is not None:
            timer.cancel()
    outcome = attempt.outcome
    if outcome is None:
        raise RuntimeError("an attempt was called decided and has no outcome")
    return Ended(outcome, attempt.seconds, None if attempt.gone else gone)


@functools.cache
def _shared() -> Resources:
    return Resources()

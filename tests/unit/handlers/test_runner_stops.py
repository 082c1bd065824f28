"""Running a handler once: time-outs and stops."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.handlers import (
    Context,
    Raised,
    Resources,
    Returned,
    Stopped,
    StopReason,
    run_attempt,
)
from tests.unit.handlers.attempts import start, typed, until
from tests.unit.handlers.recording_host import make_context

# Time-outs


async def test_an_async_handler_past_its_time_out_is_cancelled() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        await asyncio.sleep(60)

    ctx = make_context()
    ended = await run_attempt(typed(f, timeout_seconds=0.01), b"0", ctx)
    assert isinstance(ended.outcome, Raised)
    assert ended.outcome.error == "TimeoutError: the handler took longer than 0.01 s"
    assert ended.outcome.retryable
    assert ended.still_running is None
    assert ctx.cancelled


async def test_a_time_out_is_retried_only_when_the_type_wants_it() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        await asyncio.sleep(60)

    task_type = typed(f, timeout_seconds=0.01, retry_on=(ValueError,))
    outcome = (await run_attempt(task_type, b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert not outcome.retryable


async def test_a_thread_past_its_time_out_is_reported_at_once_and_still_runs(
    threads: ThreadPoolExecutor,
) -> None:
    release = threading.Event()

    def f(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    ctx = make_context()
    ended = await run_attempt(
        typed(f, timeout_seconds=0.01), b"0", ctx, resources=Resources(threads=threads)
    )
    assert isinstance(ended.outcome, Raised)
    assert "took longer" in ended.outcome.error
    assert ctx.cancelled
    assert ended.still_running is not None
    assert not ended.still_running.done()
    release.set()
    await asyncio.wait_for(ended.still_running, 10)


async def test_a_handler_knows_its_deadline() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        assert ctx.deadline is not None
        return (ctx.deadline - datetime.now(UTC)).total_seconds()

    outcome = (await run_attempt(typed(f, timeout_seconds=50), b"0", make_context())).outcome
    assert isinstance(outcome, Returned)
    assert 49 < float(outcome.result) <= 50


async def test_a_handlers_own_time_outs_work_inside_of_it() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "own"

    outcome = (await run_attempt(typed(f, timeout_seconds=30), b"0", make_context())).outcome
    assert outcome == Returned(b'"own"')


# Stops


async def test_a_stop_cancels_the_coroutine_and_waits_for_its_end(
    threads: ThreadPoolExecutor,
) -> None:
    tidied = []

    async def f(ctx: Context, payload: Any) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            tidied.append(True)

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED))
    assert attempt.calls == []
    await until(lambda: attempt.gone)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    assert tidied == [True]
    assert attempt.calls == ["outcome", "gone"]


async def test_a_coroutine_that_swallows_its_stop_is_reported_after_the_grace(
    threads: ThreadPoolExecutor,
) -> None:
    release = asyncio.Event()

    async def f(ctx: Context, payload: Any) -> Any:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=0.01)
    await until(lambda: attempt.outcome is not None)
    assert not attempt.gone
    release.set()
    await until(lambda: attempt.gone)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    assert attempt.calls == ["outcome", "gone"]


async def test_the_first_stop_decides_and_a_second_may_shorten_the_grace(
    threads: ThreadPoolExecutor,
) -> None:
    release = threading.Event()

    def f(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=60)
    attempt.stop(Stopped(StopReason.HANDED_BACK), grace_seconds=0)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    release.set()
    await until(lambda: attempt.gone)
    assert attempt.calls == ["outcome", "gone"]


async def test_a_later_stop_never_lengthens_the_grace(threads: ThreadPoolExecutor) -> None:
    release = threading.Event()

    def f(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=0.02)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=60)
    await until(lambda: attempt.outcome is not None)
    release.set()
    await until(lambda: attempt.gone)


async def test_a_value_returned_after_a_stop_does_not_count(threads: ThreadPoolExecutor) -> None:
    def f(ctx: Context, payload: Any) -> Any:
        ctx.cancelled.wait(30)
        return "half of it"

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.HANDED_BACK))
    await until(lambda: attempt.gone)
    assert attempt.outcome == Stopped(StopReason.HANDED_BACK)


async def test_a_stop_after_the_outcome_changes_nothing(threads: ThreadPoolExecutor) -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return 1

    attempt = await start(typed(f), threads)
    await until(lambda: attempt.gone)
    attempt.stop(Stopped(StopReason.CANCELLED))
    assert attempt.outcome == Returned(b"1")
    assert not attempt.ctx.cancelled


async def test_a_sync_handler_that_still_waits_for_a_thread_never_runs_once_stopped() -> None:
    release, ran = threading.Event(), []

    def busy(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    def f(ctx: Context, payload: Any) -> Any:
        ran.append(True)

    with ThreadPoolExecutor(1) as pool:
        first, second = await start(typed(busy), pool), await start(typed(f), pool)
        second.stop(Stopped(StopReason.CANCELLED), grace_seconds=0)
        release.set()
        await until(lambda: first.gone and second.gone)
    assert ran == []


async def test_a_cancelled_caller_stops_its_attempt() -> None:
    stopped = asyncio.Event()

    async def f(ctx: Context, payload: Any) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    caller = asyncio.create_task(run_attempt(typed(f), b"0", make_context()))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(stopped.wait(), 10)


async def test_an_attempt_leaves_no_timer_behind(threads: ThreadPoolExecutor) -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return 1

    for _ in range(50):
        await run_attempt(
            typed(f, timeout_seconds=3600),
            b"0",
            make_context(),
            resources=Resources(threads=threads),
        )
    loop = asyncio.get_running_loop()
    live = [h for h in getattr(loop, "_scheduled", []) if not h.cancelled()]
    assert live == []

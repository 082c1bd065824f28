"""Liveness of a real worker: green through everything that is no hang, red for a hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from headrace import Backoff, Context, TaskStatus, handler
from headrace_worker.main import redis_answers
from headrace_worker.probes import fault
from headrace_worker.worker import Worker
from tests.integration.worker.conftest import Bench, until

SILENCE = 0.8
"""In the place of 30 s. More than a wait for a wake-up takes with these settings."""


def judge(bench: Bench, worker: Worker) -> str | None:
    return fault(worker.signs(), lambda: redis_answers(bench.queue), SILENCE)


async def stays_green(bench: Bench, worker: Worker, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        problem = await asyncio.to_thread(judge, bench, worker)
        assert problem is None
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_worker.worker.MAX_WAIT_SECONDS", 0.2)
    monkeypatch.setattr("headrace_worker.draining.POLL_SECONDS", 0.2)
    # Between tries while Redis is away. In earnest 1 s at most, far below the 30 s of silence too.
    monkeypatch.setattr("headrace_worker.worker.BACKOFF", Backoff(0.05, 0.2))


async def test_idle_full_and_draining_workers_are_alive(bench: Bench) -> None:
    @handler("work")
    async def work(ctx: Context, seconds: float) -> None:
        await asyncio.sleep(seconds)

    worker = bench.start(work, concurrency=1)
    await until(lambda: worker.ready)
    await stays_green(bench, worker, 1.2)
    task_id = await bench.submit("work", 1.6)
    await bench.reached(task_id, TaskStatus.RUNNING)
    await stays_green(bench, worker, 2.0)
    await bench.queue.drain(worker.info.id)
    await until(lambda: worker._mark.holds)
    await stays_green(bench, worker, 1.2)
    await bench.queue.undrain(worker.info.id)
    await until(lambda: not worker._mark.holds)
    await stays_green(bench, worker, 0.3)


async def test_a_worker_without_redis_is_alive(bench: Bench) -> None:
    @handler("work")
    async def work(ctx: Context, payload: Any) -> None: ...

    worker = bench.start(work)
    await until(lambda: worker._waiter is not None)
    bench.server.terminate()
    try:
        await stays_green(bench, worker, 1.5)
    finally:
        bench.server.start()


@pytest.mark.parametrize("call", ["settle", "wait_and_claim"])
async def test_a_claim_loop_that_hangs_is_dead(
    bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @handler("work")
    async def work(ctx: Context, payload: Any) -> None: ...

    release = asyncio.Event()
    worker = bench.start(work)
    await until(lambda: worker._waiter is not None)
    real: Callable[..., Any] = getattr(worker._consumer, call)

    async def wedged(*args: Any) -> Any:
        await release.wait()
        return await real(*args)

    monkeypatch.setattr(worker._consumer, call, wedged)
    await bench.submit("work")
    problem = await until(lambda: asyncio.to_thread(judge, bench, worker))
    assert "no answer" in problem or "no task was asked for" in problem
    release.set()


async def test_a_blocked_event_loop_with_a_free_slot_is_dead(bench: Bench) -> None:
    @handler("work")
    async def work(ctx: Context, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the mistake under test

    worker = bench.start(work)
    await until(lambda: worker._waiter is not None)
    seen: list[str | None] = []

    def watch() -> None:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            seen.append(judge(bench, worker))
            time.sleep(0.05)

    watching = asyncio.create_task(asyncio.to_thread(watch))
    await until(lambda: seen)  # it looks on before the loop is blocked
    task_id = await bench.submit("work", 1.5)
    await asyncio.gather(watching, bench.ended(task_id))
    assert any(problem is not None and "a slot is free" in problem for problem in seen)
    assert seen[-1] is None, "it recovers with the loop"

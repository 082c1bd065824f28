"""A task that stops each worker that runs it does not stop them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from headrace import Context, TaskStatus, handler
from headrace_worker.worker import Worker
from tests.integration.worker.conftest import Bench

MOST_RUNS = 14
"""Ten hand-backs within an hour are free, three more are crashes, and one more fails the task."""


async def test_a_task_that_stops_its_workers_fails_and_the_others_run(bench: Bench) -> None:
    runs: Counter[str] = Counter()
    workers: list[Worker] = []

    @handler("stopper")
    async def stopper(ctx: Context, payload: Any) -> None:
        runs[ctx.task_id] += 1
        for _ in range(2):  # as two SIGTERMs do: end, and hand back at once
            workers[-1].stop()
        await asyncio.sleep(20)

    @handler("honest")
    async def honest(ctx: Context, payload: Any) -> int:
        return ctx.attempt

    poison = await bench.submit("stopper")
    for _ in range(MOST_RUNS):
        workers.append(bench.start(stopper, honest, concurrency=1))
        await asyncio.wait_for(bench.workers[-1][1], 15)
    record = await bench.queue.get(poison)
    assert record.status is TaskStatus.FAILED
    assert record.error is not None
    assert record.error.startswith("it was handed back 14 times within an hour")

    workers.append(bench.start(stopper, honest, concurrency=1))
    assert (await bench.ended(await bench.submit("honest"))).result == b"1"
    assert runs[poison] == MOST_RUNS

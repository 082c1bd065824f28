"""Several task types on one worker, several workers on one queue, and draining."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from headrace import Context, NewTask, TaskStatus, handler, new_id
from headrace.taskqueue import WorkerStatus
from tests.integration.worker.conftest import Bench, until


async def test_no_task_type_starves_another(bench: Bench) -> None:
    order: list[str] = []

    async def note(ctx: Context, payload: Any) -> None:
        order.append(ctx.task_type)
        await asyncio.sleep(0.002)

    crowd = [NewTask(type="crowd", payload=b"null", id=new_id()) for _ in range(300)]
    await bench.queue.submit_many(crowd)
    rare = [await bench.submit("rare") for _ in range(5)]
    bench.start(handler("crowd")(note), handler("rare")(note), concurrency=1)
    for task_id in rare:
        await bench.ended(task_id)
    assert order.count("crowd") <= 12


async def test_several_workers_share_a_queue_and_run_each_task_once(bench: Bench) -> None:
    runs: Counter[str] = Counter()

    @handler("work")
    async def work(ctx: Context, payload: Any) -> None:
        runs[ctx.task_id] += 1
        await asyncio.sleep(0.001)

    for _ in range(3):
        bench.start(work, concurrency=4)
    await until(lambda: all(worker.ready for worker, _ in bench.workers))
    tasks = [NewTask(type="work", payload=b"null", id=new_id()) for _ in range(600)]
    await bench.queue.submit_many(tasks)
    await until(lambda: len(runs) == 600)
    await until(lambda: all(worker._hand.idle for worker, _ in bench.workers))
    assert set(runs.values()) == {1}
    records = await bench.queue.get_many([task.id for task in tasks])
    assert len({task.worker for task in records if task is not None}) == 3


async def test_an_idle_worker_picks_a_task_up_at_once(bench: Bench) -> None:
    @handler("work")
    async def work(ctx: Context, payload: Any) -> None: ...

    worker = bench.start(work)
    await until(lambda: worker._waiter is not None)
    delays = []
    for _ in range(20):
        began = time.monotonic()
        await bench.ended(await bench.submit("work"))
        delays.append(time.monotonic() - began)
    assert sorted(delays)[10] < 0.1, "the wake-up, not the second that a lost one costs"


async def status_of(bench: Bench, worker_id: str) -> WorkerStatus:
    return next(worker for worker in await bench.registered() if worker.id == worker_id)


async def test_a_draining_worker_finishes_acknowledges_and_claims_again_when_undrained(
    bench: Bench,
) -> None:
    go_on = asyncio.Event()

    @handler("work")
    async def work(ctx: Context, payload: Any) -> None:
        await go_on.wait()

    worker = bench.start(work)
    running = await bench.submit("work")
    await bench.reached(running, TaskStatus.RUNNING)
    await bench.queue.drain(worker.info.id)
    waiting = await bench.submit("work")

    async def is_draining() -> bool:
        return (await status_of(bench, worker.info.id)).draining

    await until(is_draining)
    await asyncio.sleep(0.3)
    status = await status_of(bench, worker.info.id)
    assert (status.draining, status.drained, status.busy_slots) == (True, False, 1)
    assert (await bench.queue.get(waiting)).status is TaskStatus.QUEUED
    assert not worker.signs().should_ask

    go_on.set()
    await bench.ended(running)
    began = time.monotonic()

    async def is_drained() -> bool:
        return (await status_of(bench, worker.info.id)).drained

    await until(is_drained)
    assert time.monotonic() - began < 1
    assert (await bench.queue.get(waiting)).status is TaskStatus.QUEUED

    await bench.queue.undrain(worker.info.id)
    assert (await bench.ended(waiting)).status is TaskStatus.COMPLETED


async def test_an_idle_worker_that_drains_leaves_wake_ups_to_others(bench: Bench) -> None:
    @handler("work")
    async def work(ctx: Context, payload: Any) -> None: ...

    drained, other = bench.start(work), bench.start(work)
    await until(lambda: drained._waiter is not None and other._waiter is not None)
    await bench.queue.drain(drained.info.id)
    await until(lambda: drained._mark.holds)
    delays = []
    for _ in range(20):
        began = time.monotonic()
        task = await bench.ended(await bench.submit("work"))
        delays.append(time.monotonic() - began)
        assert task.worker == other.info.id
    assert sorted(delays)[15] < 0.1

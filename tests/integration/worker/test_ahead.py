"""What a worker claims ahead: it begins when a slot comes free, or goes back soon."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from headrace import Context, NewTask, TaskStatus, handler, new_id
from headrace_worker import running as module
from headrace_worker.worker import Worker
from tests.integration.worker.conftest import Bench, until

LONGEST_SECONDS = 0.06
"""Nothing waits longer behind a slow task."""


class Work:
    """A task type whose payload says whether it waits for the gate. Keeps when each began."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.gate = asyncio.Event()

        @handler("work")
        async def work(ctx: Context, payload: bool) -> None:
            self.began[ctx.task_id] = time.monotonic()
            if payload:
                await self.gate.wait()

        self.type = work


def tasks_of(*gated: bool) -> list[NewTask]:
    return [
        NewTask(type="work", payload=b"true" if waits else b"false", id=new_id()) for waits in gated
    ]


def call_quick(worker: Worker) -> None:
    """As if it had run many quick tasks just now."""
    worker._pace.answered(10.0)
    for _ in range(100):
        worker._pace.ended("work", 0.0)


async def behind_a_slow_one(bench: Bench, work: Work, waiting: int = 3) -> tuple[Worker, list[str]]:
    """A worker of one slot whose task does not end, and the ids of what it has claimed ahead."""
    worker = bench.start(work.type, concurrency=1)
    await until(lambda: worker._waiter is not None)
    call_quick(worker)
    tasks = tasks_of(False, True, *[False] * 5)
    await bench.queue.submit_many(tasks)
    await until(lambda: tasks[1].id in work.began)
    return worker, [task.id for task in tasks[2 : 2 + waiting]]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes back for having waited."""
    monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", 60.0)


async def test_quick_tasks_are_claimed_ahead_and_each_runs_once(bench: Bench) -> None:
    work, most = Work(), 0
    worker = bench.start(work.type, concurrency=2)
    await until(lambda: worker.ready)
    call_quick(worker)
    keep = worker._hand.keep

    def count(*arguments: Any) -> None:
        nonlocal most
        keep(*arguments)
        most = max(most, len(worker._hand.waiting))

    worker._hand.keep = count  # type: ignore[assignment,method-assign]
    tasks = tasks_of(*[False] * 500)
    await bench.queue.submit_many(tasks)
    await until(lambda: len(work.began) == 500)
    await until(lambda: worker._hand.idle)
    assert 1 <= most <= 6, "four times the free slots, of which two begin at once"
    stats = (await bench.queue.stats()).queues["work"]
    assert (stats.completions_total, stats.running, stats.queue_length) == (500, 0, 0)


async def test_nothing_waits_behind_a_slow_task_for_longer_than_60_ms(bench: Bench) -> None:
    longest = []
    for _ in range(5):  # a machine that stands still for a moment spoils one try, not all
        work = Work()
        _, waiting = await behind_a_slow_one(bench, work)
        held_since = time.monotonic()
        other = bench.start(work.type, concurrency=1)
        await until(lambda: other.ready)  # noqa: B023
        await until(lambda: all(task_id in work.began for task_id in waiting))  # noqa: B023
        longest.append(max(work.began[task_id] for task_id in waiting) - held_since)
        work.gate.set()
        for worker, _ in bench.workers:
            await bench.stop(worker)
        bench.workers.clear()
    assert min(longest) <= LONGEST_SECONDS


async def test_what_has_waited_too_long_goes_back_to_the_front_in_order(bench: Bench) -> None:
    work = Work()
    worker, waiting = await behind_a_slow_one(bench, work)
    await until(lambda: not worker._hand.waiting)
    for task_id in waiting:
        task = await bench.reached(task_id, TaskStatus.QUEUED)
        assert (task.retry_count, task.crash_count, task.attempt) == (0, 0, 1)
    work.gate.set()
    await until(lambda: len(work.began) == 7)
    assert [task_id for task_id in work.began if task_id in waiting] == waiting
    last = list(work.began)[-2:]
    assert not set(last) & set(waiting), "what was submitted after them runs after them"


@pytest.mark.usefixtures("patient")
async def test_a_drain_mark_sends_back_what_has_not_begun(bench: Bench) -> None:
    work = Work()
    worker, waiting = await behind_a_slow_one(bench, work)
    stats = (await bench.queue.stats()).queues["work"]
    assert (stats.running, stats.queue_length) == (4, 2), "it is in the worker's hands, not waiting"
    await bench.queue.drain(worker.info.id)
    for task_id in waiting:
        task = await bench.reached(task_id, TaskStatus.QUEUED)
        assert (task.retry_count, task.crash_count) == (0, 0)
    stats = (await bench.queue.stats()).queues["work"]
    assert (stats.running, stats.queue_length) == (1, 5)
    work.gate.set()


@pytest.mark.usefixtures("patient")
async def test_a_stop_sends_back_what_has_not_begun(bench: Bench) -> None:
    work = Work()
    worker, waiting = await behind_a_slow_one(bench, work)
    worker.stop()
    for task_id in waiting:
        task = await bench.reached(task_id, TaskStatus.QUEUED)
        assert (task.retry_count, task.crash_count) == (0, 0)
    work.gate.set()
    assert await bench.stop(worker) == 0
    assert not set(waiting) & work.began.keys()


@pytest.mark.usefixtures("patient")
async def test_a_cancelled_one_ends_without_having_begun(bench: Bench) -> None:
    work = Work()
    _, waiting = await behind_a_slow_one(bench, work)
    await bench.queue.cancel(waiting[1], running=True)
    await bench.reached(waiting[1], TaskStatus.CANCELLED)
    work.gate.set()
    await bench.ended(waiting[2])
    assert waiting[1] not in work.began


@pytest.mark.usefixtures("patient")
async def test_leases_of_what_waits_are_renewed(bench: Bench) -> None:
    work = Work()
    _, waiting = await behind_a_slow_one(bench, work)
    await asyncio.sleep(1.5)  # a lease and a half
    work.gate.set()
    for task_id in waiting:
        assert (await bench.ended(task_id)).crash_count == 0


async def test_slow_types_are_never_claimed_ahead(bench: Bench) -> None:
    most = 0

    @handler("slow")
    async def slow(ctx: Context, payload: Any) -> None:
        nonlocal most
        await asyncio.sleep(0.05)
        most = max(most, (await bench.queue.stats()).queues["slow"].running)

    bench.start(slow, concurrency=2)
    tasks = [NewTask(type="slow", payload=b"null", id=new_id()) for _ in range(30)]
    await bench.queue.submit_many(tasks)
    for task in tasks:
        await bench.ended(task.id)
    assert most <= 2

"""Workers that stood still and came back: why their leases ended is kept with their tasks."""

from __future__ import annotations

import asyncio

import pytest

from headrace.taskqueue import MAX_CRASHES, ClaimedTask, Completed, Consumer, Failed, TaskStatus
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, running, settle

WHY = "its lease ended while a call of type report held the interpreter for 7.5 s"


async def stalled(rig: Rig, worker: Consumer, *tasks: ClaimedTask) -> None:
    shown = [running(task) for task in tasks]
    await asyncio.to_thread(rig.renewer(worker).stalled, shown, WHY)


async def crash(rig: Rig, worker: Consumer) -> ClaimedTask:
    task = await claim_one(worker)
    rig.expire_lease(task)
    assert await rig.queue.reap([TYPE]) == 1
    return task


@pytest.mark.parametrize("told_after", [1, MAX_CRASHES + 1])
async def test_a_worker_that_comes_back_says_why_also_after_the_task_has_failed(
    any_rig: Rig, told_after: int
) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    for attempt in range(1, MAX_CRASHES + 2):
        task = await crash(any_rig, worker)
        if attempt == told_after:
            await stalled(any_rig, worker, task)
    record = await any_rig.queue.get(task_id)
    assert (record.status, record.crash_count) == (TaskStatus.FAILED, MAX_CRASHES + 1)
    assert record.error == f"{WHY}; 4 attempts ended without an outcome"
    errors = [attempt.error for attempt in await any_rig.queue.attempts(task_id)]
    assert errors == [WHY] * told_after + [None] * (MAX_CRASHES + 1 - told_after)
    assert (await any_rig.stats()).stalls_total == 1


async def test_a_stall_that_cost_no_lease_is_counted_and_changes_no_task(rig: Rig) -> None:
    await rig.submit_many(3)
    worker = await rig.worker()
    done, failing, held = (await worker.claim(3)).tasks
    await settle(worker, Completed(done, b"1", 1), Failed(failing, "no", None, 1))
    before = await rig.queue.get_many([done.id, failing.id, held.id])
    await stalled(rig, worker, done, failing, held)
    assert await rig.queue.get_many([done.id, failing.id, held.id]) == before
    await complete(worker, held)
    assert (await rig.stats()).stalls_total == 1


async def test_a_stall_of_before_a_retry_by_hand_is_forgotten(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    for _ in range(MAX_CRASHES + 1):
        await stalled(rig, worker, await crash(rig, worker))
    await rig.queue.retry(task_id)
    for _ in range(MAX_CRASHES + 1):
        await crash(rig, worker)
    record = await rig.queue.get(task_id)
    assert record.error == "the worker was lost 4 times while it ran this task"

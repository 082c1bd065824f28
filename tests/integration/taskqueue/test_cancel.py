"""Cancelling and retrying: at any depth at the same cost, and counted exactly."""

from __future__ import annotations

import time

import pytest

from headrace.taskqueue import (
    Cancelled,
    Completed,
    Failed,
    NotAllowed,
    Settlement,
    TaskStatus,
)
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, ids, renew, settle
from tests.keyspace import indexed

QUEUED, PENDING, RUNNING = TaskStatus.QUEUED, TaskStatus.PENDING, TaskStatus.RUNNING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED


async def test_a_cancelled_task_is_skipped_and_not_counted(any_rig: Rig) -> None:
    [first, second, third] = await any_rig.submit_many(3)
    assert await any_rig.queue.cancel(second) is CANCELLED
    assert await any_rig.length() == 2
    record = await any_rig.queue.get(second)
    assert record.status is CANCELLED
    assert record.completed_at is not None
    worker = await any_rig.worker()
    assert ids(await worker.claim(3)) == [first, third]
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running) == (0, 2)


async def test_a_delayed_task_is_cancelled(any_rig: Rig) -> None:
    task_id = await any_rig.submit(delay_seconds=60)
    assert await any_rig.queue.cancel(task_id) is CANCELLED
    stats = await any_rig.stats()
    assert (stats.delayed, stats.queue_length) == (0, 0)
    assert (await any_rig.queue.get(task_id)).due_at is None
    assert indexed(any_rig.server) == []


async def test_a_running_task_is_cancelled_only_if_that_is_wished(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    with pytest.raises(NotAllowed, match=f"task {task_id} is running: only pending and queued"):
        await any_rig.queue.cancel(task_id)
    assert await any_rig.queue.cancel(task_id, running=True) is RUNNING
    record = await any_rig.queue.get(task_id)
    assert (record.status, record.cancel_requested) == (RUNNING, True)
    assert await settle(worker, Cancelled(task, 1)) == [CANCELLED]
    assert (await any_rig.stats()).completions_total == 0
    assert indexed(any_rig.server) == []


@pytest.mark.parametrize("retry_delay_ms", [None, 0])
async def test_however_a_task_ends_that_was_asked_to_stop_it_is_cancelled(
    rig: Rig, retry_delay_ms: int | None
) -> None:
    [first, second] = await rig.submit_many(2)
    worker = await rig.worker()
    a, b = (await worker.claim(2)).tasks
    for task_id in (first, second):
        await rig.queue.cancel(task_id, running=True)
    settlements: list[Settlement] = [Completed(a, b"1", 1), Failed(b, "stopped", retry_delay_ms, 1)]
    assert await settle(worker, *settlements) == [CANCELLED, CANCELLED]
    stats = await rig.stats()
    assert (stats.completions_total, stats.failures_total, stats.retries_total) == (0, 0, 0)
    assert (await rig.queue.get(second)).error == "stopped"
    assert await rig.queue.dead_letters(TYPE) == []


async def test_an_ended_task_cannot_be_cancelled(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    done = await any_rig.submit()
    await complete(worker, await claim_one(worker))
    failed = await any_rig.submit()
    await settle(worker, Failed(await claim_one(worker), "no", None, 1))
    for task_id, status in ((done, "completed"), (failed, "failed")):
        with pytest.raises(NotAllowed) as caught:
            await any_rig.queue.cancel(task_id, running=True)
        assert (caught.value.status, caught.value.move) == (status, "cancel")
    cancelled = await any_rig.submit()
    await any_rig.queue.cancel(cancelled)
    with pytest.raises(NotAllowed, match="is cancelled"):
        await any_rig.queue.cancel(cancelled)
    assert await any_rig.length() == 0


async def test_only_failed_and_cancelled_tasks_are_retried(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    task_id = await any_rig.submit()
    delayed = await any_rig.submit(delay_seconds=60)
    with pytest.raises(
        NotAllowed, match="is queued: only failed and cancelled tasks can be retried"
    ):
        await any_rig.queue.retry(task_id)
    with pytest.raises(NotAllowed, match="is pending"):
        await any_rig.queue.retry(delayed)
    task = await claim_one(worker)
    with pytest.raises(NotAllowed, match="is running"):
        await any_rig.queue.retry(task_id)
    await complete(worker, task)
    with pytest.raises(NotAllowed, match="is completed"):
        await any_rig.queue.retry(task_id)


async def test_retrying_a_cancelled_task_still_in_the_list_does_not_double_it(
    any_rig: Rig,
) -> None:
    [task_id, other] = await any_rig.submit_many(2)
    for _ in range(3):
        await any_rig.queue.cancel(task_id)
        assert await any_rig.length() == 1
        assert await any_rig.queue.retry(task_id) is QUEUED
        assert await any_rig.length() == 2
    assert any_rig.raw.llen(any_rig.key(f"queue:{TYPE}")) == 2
    worker = await any_rig.worker()
    claim = await worker.claim(10)
    assert ids(claim) == [task_id, other]
    assert not claim.more
    assert await any_rig.length() == 0


async def test_retrying_a_cancelled_task_that_left_the_list_queues_it(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    await any_rig.queue.cancel(task_id)
    worker = await any_rig.worker()
    assert (await worker.claim(1)).tasks == []
    await any_rig.queue.retry(task_id)
    assert await any_rig.length() == 1
    assert (await claim_one(worker)).id == task_id


async def test_cancelled_retries_leave_the_count_of_retries(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    [a, b, c] = await any_rig.submit_many(3)
    for task in (await worker.claim(3)).tasks:
        await settle(worker, Failed(task, "no", 60_000, 1))
    for task_id in (a, b):
        any_rig.make_due(task_id)
    await any_rig.queue.cancel(a)  # due, not yet in the list
    await any_rig.queue.cancel(c)  # not due
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.queue_length_retries, stats.delayed) == (1, 1, 0)
    await any_rig.queue.drain("w1")
    await worker.claim(1)  # moves the due one into the list, takes nothing
    await any_rig.queue.cancel(b)
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.queue_length_retries) == (0, 0)
    await any_rig.queue.retry(b)
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.queue_length_retries) == (1, 0)


async def test_a_cancelled_task_whose_record_expired_is_still_no_length(any_rig: Rig) -> None:
    [gone, kept] = await any_rig.submit_many(2)
    await any_rig.queue.cancel(gone)
    any_rig.raw.delete(any_rig.key(f"task:{gone}"))
    assert await any_rig.length() == 1
    again = await any_rig.submit(task_id=gone)  # the same idempotency key, after the retention
    assert await any_rig.length() == 2
    worker = await any_rig.worker()
    assert sorted(ids(await worker.claim(10))) == sorted([again, kept])
    assert await any_rig.length() == 0


async def test_thousands_of_cancelled_tasks_at_the_head_are_skipped_in_bounded_calls(
    any_rig: Rig,
) -> None:
    cancelled = await any_rig.submit_many(20_000)
    waiting = await any_rig.submit()
    prefix = any_rig.key("task:")
    pipe = any_rig.raw.pipeline(transaction=False)
    for task_id in cancelled:  # as cancel.lua leaves them
        pipe.hset(prefix + task_id, mapping={"s": "cancelled", "z": 1})
        pipe.expire(prefix + task_id, 1000)
    pipe.hset(any_rig.key(f"counts:{TYPE}"), "tombstones", len(cancelled))
    pipe.execute()
    assert await any_rig.length() == 1

    worker = await any_rig.worker()
    calls, slowest = 0, 0.0
    while True:
        began = time.monotonic()
        claim = await worker.claim(10)
        slowest = max(slowest, time.monotonic() - began)
        calls += 1
        if claim.tasks:
            break
        assert claim.more
    assert ids(claim) == [waiting]
    assert 20 <= calls <= 21
    assert slowest < 1
    assert await any_rig.length() == 0
    assert await any_rig.queue.retry(cancelled[0]) is QUEUED
    assert await any_rig.length() == 1


async def test_cancelling_costs_the_same_commands_at_any_depth(rig: Rig) -> None:
    def commands() -> dict[str, int]:
        stats = rig.raw.info("commandstats")
        return {name: value["calls"] for name, value in stats.items()}

    async def cost_of_a_cancel() -> dict[str, int]:
        task_id = await rig.submit()
        rig.raw.config_resetstat()
        await rig.queue.cancel(task_id)
        return commands()

    await rig.submit()
    shallow = await cost_of_a_cancel()
    await rig.submit_many(20_000)
    assert await cost_of_a_cancel() == shallow
    assert not {"cmdstat_lrem", "cmdstat_lrange", "cmdstat_lpos"} & shallow.keys()


async def test_asking_a_running_task_to_stop_twice_wakes_its_worker_once(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    signals = any_rig.key("signal:w1")
    for _ in range(3):
        assert await any_rig.queue.cancel(task_id, running=True) is RUNNING
    assert any_rig.raw.llen(signals) == 1
    any_rig.raw.delete(signals)
    assert await any_rig.queue.cancel(task_id, running=True) is RUNNING
    assert any_rig.raw.llen(signals) == 0
    assert (await renew(any_rig, worker, [task])).cancelled == [task.hold]

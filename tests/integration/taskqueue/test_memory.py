"""Redis at its memory limit: nothing new is taken in, and everything that is there can end."""

from __future__ import annotations

import pytest

from headrace.taskqueue import (
    Completed,
    Failed,
    OutOfMemory,
    Parked,
    Released,
    Task,
    TaskStatus,
)
from headrace.taskqueue.task import utc
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, ids, new_task, renew, settle
from tests.keyspace import indexed

QUEUED, PENDING = TaskStatus.QUEUED, TaskStatus.PENDING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED


def fill(rig: Rig) -> None:
    """From now on Redis is over its limit, and evicts nothing.

    Nobody has looked after the leases for a moment: the next script begins with noting that.
    """
    rig.raw.config_set("maxmemory-policy", "noeviction")
    rig.raw.config_set("maxmemory", 0)
    if rig.raw.exists(rig.key("meta")):
        rig.redis_was_away(2000)
    rig.raw.config_set("maxmemory", 1)


async def test_a_full_redis_refuses_new_tasks_and_writes_nothing(any_rig: Rig) -> None:
    await any_rig.submit()
    before = any_rig.raw.dbsize()
    fill(any_rig)
    with pytest.raises(OutOfMemory, match="memory limit"):
        await any_rig.submit()
    with pytest.raises(OutOfMemory):
        await any_rig.queue.submit_many([new_task(b"1" * 1000) for _ in range(10)])
    with pytest.raises(OutOfMemory):
        await any_rig.queue.put_definition(b"text")
    assert any_rig.raw.dbsize() == before
    assert await any_rig.length() == 1
    any_rig.raw.config_set("maxmemory", 0)
    await any_rig.submit()


async def test_a_full_redis_with_no_data_of_the_queue_refuses_too(any_rig: Rig) -> None:
    fill(any_rig)
    with pytest.raises(OutOfMemory):
        await any_rig.submit()
    assert any_rig.raw.dbsize() == 0


async def test_on_a_full_redis_tasks_are_claimed_renewed_and_ended(any_rig: Rig) -> None:
    await any_rig.submit_many(6, max_retries=1)
    waiting = await any_rig.submit()
    fill(any_rig)

    # A worker that starts now, over a connection made now.
    worker = await any_rig.worker()
    tasks = (await worker.claim(6)).tasks
    assert len(tasks) == 6
    a, b, c, d, e, f = tasks
    fill(any_rig)
    assert (await renew(any_rig, worker, tasks)).lost == []
    fill(any_rig)
    assert await worker.checkpoint(a, b"state" * 100)
    fill(any_rig)
    assert await worker.progress(a, 50, "half")
    large = b'"' + b"x" * 1000 + b'"'
    for settlement, status in (
        (Completed(a, large, 1), COMPLETED),
        (Failed(b, "again", 60_000, 1), PENDING),
        (Failed(c, "no", None, 1), FAILED),
        (Parked(d, any_rig.now_ms() + 60_000, b"state" * 100, 1), PENDING),
        (Released(e), QUEUED),
    ):
        fill(any_rig)
        assert await settle(worker, settlement) == [status]
    fill(any_rig)
    assert ids((await worker.settle([], claim_limit=1))[1]) == [e.id]
    assert (await any_rig.queue.get(a.id)).result == large

    assert await any_rig.queue.cancel(b.id) is CANCELLED
    assert await any_rig.queue.cancel(waiting) is CANCELLED
    await any_rig.queue.drain("w1")
    assert (await worker.claim(1)).draining
    await any_rig.queue.undrain("w1")
    any_rig.raw.config_set("maxmemory", 0)
    any_rig.expire_lease(f)
    fill(any_rig)
    assert await any_rig.queue.reap([TYPE]) == 1
    fill(any_rig)
    assert (await claim_one(worker)).id == f.id
    fill(any_rig)
    stats = await any_rig.stats()
    assert (stats.running, stats.delayed, stats.queue_length) == (2, 1, 0)
    fill(any_rig)
    await worker.deregister()


async def test_after_a_loss_of_data_a_full_redis_takes_running_tasks_back(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    any_rig.server.flush()
    fill(any_rig)
    assert await worker.restore([task]) == [True]
    assert await settle(worker, Completed(task, b"1", 1)) == [COMPLETED]
    assert indexed(any_rig.server) == []


async def test_a_run_outside_the_queue_is_not_stored_in_a_full_redis(any_rig: Rig) -> None:
    fill(any_rig)
    with pytest.raises(OutOfMemory):
        await any_rig.queue.store_final(
            Task(id="inline", type=TYPE, status=COMPLETED, created_at=utc(1_760_000_000_000))
        )
    assert any_rig.raw.dbsize() == 0


async def test_a_dead_letter_can_be_retried_on_a_full_redis(any_rig: Rig) -> None:
    task_id = await any_rig.submit(max_retries=0)
    worker = await any_rig.worker()
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    fill(any_rig)
    assert await any_rig.queue.retry(task_id) is QUEUED
    assert (await claim_one(worker)).id == task_id

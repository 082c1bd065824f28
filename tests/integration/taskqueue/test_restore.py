"""Redis loses its data while tasks run: the workers notice, and what they run keeps its result."""

from __future__ import annotations

import pytest

from headrace.taskqueue import (
    Completed,
    EpochChanged,
    Failed,
    IdempotencyConflict,
    Parked,
    Released,
    TaskStatus,
    idempotent_id,
)
from headrace.taskqueue.task import utc
from tests.integration.taskqueue.rig import (
    TYPE,
    Rig,
    claim_one,
    complete,
    ids,
    new_task,
    renew,
    settle,
)
from tests.keyspace import indexed

QUEUED, RUNNING, COMPLETED = TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.COMPLETED


async def test_after_a_loss_of_data_results_of_running_tasks_are_kept(any_rig: Rig) -> None:
    payload = b'"' + b"x" * 200 + b'"'
    small = await any_rig.submit(b"[1]", max_retries=5)
    large = await any_rig.submit(payload)
    worker = await any_rig.worker()
    tasks = (await worker.claim(2)).tasks
    await worker.checkpoint(tasks[1], b"kept")
    before = worker.epoch
    any_rig.server.flush()
    any_rig.raw.script_flush()

    with pytest.raises(EpochChanged):
        await worker.settle([Completed(task, b"1", 1) for task in tasks])
    assert await worker.restore(tasks) == [True, True]
    assert worker.epoch != before
    record = await any_rig.queue.get(small)
    assert (record.status, record.payload, record.max_retries) == (RUNNING, b"[1]", 5)
    assert (record.worker, record.created_at) == ("w1", utc(tasks[0].created_at_ms))
    assert (await any_rig.queue.get(large)).payload == payload
    assert (await any_rig.stats()).running == 2
    assert (await renew(any_rig, worker, tasks)).lost == []

    statuses = await settle(worker, *(Completed(task, b"1", 1) for task in tasks))
    assert statuses == [COMPLETED, COMPLETED]
    record = await any_rig.queue.get(large)
    assert (record.status, record.result, record.crash_count) == (COMPLETED, b"1", 0)
    assert indexed(any_rig.server) == []


async def test_a_restored_task_still_answers_to_its_idempotency_key(rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-1")
    await rig.queue.submit(new_task(b"1", task_id=task_id, delay_seconds=-1))
    worker = await rig.worker()
    task = await claim_one(worker)
    rig.server.flush()
    assert await worker.restore([task]) == [True]
    # When it was to start is not known any more; what it was to do is.
    for delay_seconds in (None, 3600):
        same = new_task(b"1", task_id=task_id, delay_seconds=delay_seconds)
        assert not (await rig.queue.submit(same)).created
    with pytest.raises(IdempotencyConflict):
        await rig.queue.submit(new_task(b"2", task_id=task_id))


async def test_every_call_of_a_worker_notices_the_loss(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    any_rig.server.flush()
    await any_rig.submit()  # draws the new epoch
    new = any_rig.queue.epoch
    assert new
    for call in (
        worker.claim(1),
        worker.wait_and_claim(1, 0.01),
        worker.settle([Released(task)]),
        worker.settle([], claim_limit=1),
        worker.checkpoint(task, b""),
        worker.progress(task, 1, ""),
        worker.deregister(),
        renew(any_rig, worker, [task]),
    ):
        with pytest.raises(EpochChanged) as caught:
            await call
        assert caught.value.epoch == new
    assert await any_rig.length() == 1


async def test_a_heartbeat_notices_the_loss_when_the_scripts_are_gone_too(rig: Rig) -> None:
    worker = await rig.worker()
    renewer = rig.renewer(worker)
    renewer.renew([], [], 0)
    rig.server.flush()
    rig.raw.script_flush()
    await rig.submit()
    with pytest.raises(EpochChanged):
        renewer.renew([], [], 0)


async def test_restoring_twice_is_restoring_once(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    rig.server.flush()
    assert await worker.restore([task]) == [True]
    assert await worker.restore([task]) == [True]
    assert (await rig.stats()).running == 1
    assert await worker.restore([]) == []


async def test_a_task_that_somebody_else_has_by_now_is_not_restored(any_rig: Rig) -> None:
    # Fences begin again with the data: both holds have the number 1.
    task_id = await any_rig.submit()
    old = await any_rig.worker("old")
    lost = await claim_one(old)
    any_rig.server.flush()
    other = await any_rig.worker("other")
    await any_rig.queue.submit(new_task(task_id=task_id))
    taken = await claim_one(other)
    assert taken.fence == lost.fence

    assert await old.restore([lost]) == [False]
    assert (await any_rig.queue.get(task_id)).worker == "other"
    assert await complete(other, taken, b'"other"') is COMPLETED


async def test_a_task_that_was_submitted_again_is_not_restored(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    rig.server.flush()
    await rig.submit(task_id=task_id)
    assert await worker.restore([task]) == [False]
    assert await rig.length() == 1
    again = await claim_one(worker)
    assert await complete(worker, again) is COMPLETED


async def test_a_restored_task_whose_worker_dies_then_runs_again(rig: Rig) -> None:
    task_id = await rig.submit(b'{"a": 1}')
    worker = await rig.worker()
    task = await claim_one(worker)
    rig.server.flush()
    await worker.restore([task])
    rig.expire_lease(task)
    other = await rig.worker("other")
    again = await claim_one(other)
    assert (again.id, again.payload, again.crash_count) == (task_id, b'{"a": 1}', 1)
    assert again.fence > task.fence


async def test_a_restored_task_keeps_its_counts_and_state(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    await settle(worker, Parked(await claim_one(worker), rig.now_ms(), b"state", 1))
    rig.expire_lease(await claim_one(worker))
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    task = await claim_one(worker)
    assert (task.retry_count, task.crash_count, task.state) == (1, 1, b"state")
    rig.server.flush()
    assert await worker.restore([task]) == [True]
    assert await settle(worker, Released(task)) == [QUEUED]
    stats = await rig.stats()
    assert (stats.queue_length, stats.queue_length_retries) == (1, 1)
    again = await claim_one(worker)
    assert (again.retry_count, again.crash_count, again.state) == (1, 1, b"state")
    assert (await rig.stats()).queue_length_retries == 0


async def test_registering_draws_an_epoch_that_all_see(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    again = await any_rig.worker("again")
    stats = await any_rig.queue.stats()
    assert worker.epoch == again.epoch == stats.epoch == any_rig.queue.epoch
    await any_rig.submit()
    assert ids(await again.claim(1))
    any_rig.server.flush()
    other = await any_rig.worker("other")
    assert other.epoch not in ("", worker.epoch)


async def test_reading_stats_of_an_empty_redis_draws_an_epoch(rig: Rig) -> None:
    stats = await rig.queue.stats()
    assert stats.epoch
    assert (await rig.worker()).epoch == stats.epoch

"""Claiming more than there are free slots, of some types only."""

from __future__ import annotations

import pytest

from headrace.taskqueue import Ahead, Claim, Completed, Consumer, Released, TaskStatus
from tests.integration.taskqueue.rig import TYPE, Rig, new_task

OTHER = "mail"


async def claim_ahead(worker: Consumer, limit: int, *types: str, ahead: int) -> Claim:
    _, claim = await worker.settle([], limit, Ahead(ahead, types))
    assert claim is not None
    return claim


async def test_beyond_the_limit_only_the_named_types_are_claimed(any_rig: Rig) -> None:
    worker = await any_rig.worker(queues=(TYPE, OTHER))
    for task_type in (TYPE, OTHER):
        await any_rig.queue.submit_many([new_task(task_type=task_type) for _ in range(20)])
    claim = await claim_ahead(worker, 4, TYPE, ahead=10)
    assert [task.type for task in claim.tasks[4:]] == [TYPE] * 10
    assert sum(task.type == OTHER for task in claim.tasks) == 2
    assert claim.more


async def test_what_is_claimed_ahead_is_running_and_waits_no_more(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    await any_rig.queue.submit_many([new_task() for _ in range(20)])
    await claim_ahead(worker, 4, TYPE, ahead=10)
    stats = (await any_rig.queue.stats()).queues[TYPE]
    assert (stats.running, stats.queue_length) == (14, 6)


async def test_a_limit_that_is_not_reached_is_not_gone_beyond(any_rig: Rig) -> None:
    worker = await any_rig.worker(queues=(TYPE, OTHER))
    await any_rig.queue.submit_many([new_task() for _ in range(5)])
    assert len((await claim_ahead(worker, 10, TYPE, ahead=10)).tasks) == 5


async def test_a_task_that_was_held_before_waits_for_a_free_slot(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    ids = [(await any_rig.queue.submit(new_task())).id for _ in range(6)]
    first = (await worker.claim(3)).tasks
    await worker.settle([Released(task) for task in reversed(first)])
    claim = await claim_ahead(worker, 1, TYPE, ahead=5)
    assert [task.id for task in claim.tasks] == ids[:1]
    assert claim.more
    # Nothing was taken off the list for good, and the order is kept.
    assert [task.id for task in (await worker.claim(10)).tasks] == ids[1:]


async def test_no_more_than_64_kib_are_claimed_ahead(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    large = b'"' + b"x" * 20_000 + b'"'
    await any_rig.queue.submit_many([new_task(large) for _ in range(20)])
    assert len((await claim_ahead(worker, 2, TYPE, ahead=10)).tasks) == 2 + 4


async def test_a_marked_worker_claims_nothing_ahead(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    await any_rig.queue.submit_many([new_task() for _ in range(20)])
    await any_rig.queue.drain(worker.info.id)
    assert (await claim_ahead(worker, 4, TYPE, ahead=10)).tasks == []


async def test_cancelled_tasks_are_skipped_ahead_too(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    ids = [(await any_rig.queue.submit(new_task())).id for _ in range(8)]
    for task_id in ids[1::2]:
        await any_rig.queue.cancel(task_id)
    claim = await claim_ahead(worker, 1, TYPE, ahead=10)
    assert [task.id for task in claim.tasks] == ids[::2]
    assert (await any_rig.queue.stats()).queues[TYPE].queue_length == 0


@pytest.mark.parametrize("began", [True, False])
async def test_a_lost_worker_costs_each_of_them_one_crash_and_is_not_followed_ahead(
    any_rig: Rig, began: bool
) -> None:
    lost, other = await any_rig.worker("lost"), await any_rig.worker("other")
    ids = [(await any_rig.queue.submit(new_task())).id for _ in range(6)]
    tasks = (await claim_ahead(lost, 1, TYPE, ahead=5)).tasks
    if began:
        await lost.settle([Completed(tasks[0], b"1", 1)])
    any_rig.expire_lease(*(tasks[1:] if began else tasks))
    await any_rig.queue.reap([TYPE])
    left = ids[1:] if began else ids
    assert len((await claim_ahead(other, 1, TYPE, ahead=5)).tasks) == 1
    records = [await any_rig.queue.get(task_id) for task_id in left]
    assert [record.crash_count for record in records] == [1] * len(left)
    assert sum(record.status is TaskStatus.RUNNING for record in records) == 1
    assert (await any_rig.queue.stats()).queues[TYPE].queue_length == len(left) - 1

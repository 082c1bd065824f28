"""A task's inbox, and parking until an item comes into it."""

from __future__ import annotations

import asyncio

import pytest

from headrace.limits import MAX_INBOX_ITEM_BYTES, MAX_INBOX_ITEMS
from headrace.taskqueue import (
    Cancelled,
    ClaimedTask,
    Completed,
    Failed,
    Parked,
    Released,
    TaskNotFound,
    TaskStatus,
)
from headrace.taskqueue.errors import InboxFull, NotAllowed, UpgradeInProgress
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, renew, settle, waiting
from tests.keyspace import indexed

PENDING, QUEUED, RUNNING = TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RUNNING
COMPLETED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.CANCELLED

STATE = b"state"


def on_inbox(task: ClaimedTask, unpark_at_ms: int | None = None) -> Parked:
    return Parked(task, unpark_at_ms, STATE, 1, wake_on="inbox")


async def test_a_run_parked_for_an_item_is_no_demand_and_goes_on_when_one_comes(
    any_rig: Rig,
) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    assert await settle(worker, on_inbox(task)) == [PENDING]

    record = await any_rig.queue.get(task_id)
    assert (record.status, record.due_at) == (PENDING, None)
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running, stats.delayed, stats.due_soon) == (0, 0, 0, 0)
    assert stats.oldest_age_seconds is None
    claim = await worker.claim(1)
    assert (claim.tasks, claim.next_in_seconds) == ([], None)

    assert await any_rig.queue.wake(task_id, b"\x00 an item") is QUEUED
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.arrivals_total) == (1, 1)
    again = await claim_one(worker)
    assert (again.state, again.inbox) == (STATE, (b"\x00 an item",))
    assert (again.attempt, again.started_at_ms) == (1, task.started_at_ms)
    assert await complete(worker, again) is COMPLETED
    assert indexed(any_rig.server) == []


async def test_an_item_wakes_an_idle_worker(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    await settle(worker, on_inbox(await claim_one(worker)))
    any_rig.raw.delete(any_rig.key(f"wake:{TYPE}"))  # what came before has woken somebody
    [claim] = await waiting(any_rig, [worker])
    await any_rig.queue.wake(task_id, b"item")
    async with asyncio.timeout(1.0):
        assert [task.id for task in (await claim).tasks] == [task_id]


async def test_an_item_that_came_while_it_ran_lets_it_not_park(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    assert await any_rig.queue.wake(task_id, b"1") is RUNNING
    assert await settle(worker, on_inbox(task)) == [QUEUED]
    assert (await any_rig.stats()).queue_length == 1
    again = await claim_one(worker)
    assert (again.state, again.inbox) == (STATE, (b"1",))
    assert await any_rig.queue.wake(task_id, b"2") is RUNNING
    assert await settle(worker, on_inbox(again)) == [QUEUED]
    third = await claim_one(worker)
    assert third.inbox == (b"2",), "what it had seen has left the inbox"
    assert await settle(worker, on_inbox(third)) == [PENDING]


async def test_items_wait_for_the_next_attempt_whatever_the_task_is_doing(rig: Rig) -> None:
    task_id = await rig.submit(delay_seconds=60)
    worker = await rig.worker()
    assert await rig.queue.wake(task_id, b"pending") is PENDING
    rig.make_due(task_id)
    task = await claim_one(worker)
    assert task.inbox == (b"pending",)
    assert await settle(worker, Released(task)) == [QUEUED]
    assert await rig.queue.wake(task_id, b"queued") is QUEUED
    task = await claim_one(worker)
    assert await rig.queue.wake(task_id, b"running") is RUNNING
    await settle(worker, Failed(task, "no", 3_600_000, 1))
    assert await rig.queue.wake(task_id, b"backing off") is PENDING
    rig.make_due(task_id)
    task = await claim_one(worker)
    assert task.inbox == (b"pending", b"queued", b"running", b"backing off")
    assert await settle(worker, Parked(task, rig.now_ms() + 60_000, STATE, 1)) == [PENDING]
    assert await rig.queue.wake(task_id, b"resting") is PENDING, "it waits for its time alone"


async def test_whichever_comes_first_of_time_and_item(any_rig: Rig) -> None:
    woken, timed = await any_rig.submit_many(2)
    worker = await any_rig.worker()
    later = any_rig.now_ms() + 40_000
    tasks = (await worker.claim(2)).tasks
    await settle(worker, *(on_inbox(task, later) for task in tasks))
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.delayed, stats.due_soon) == (0, 2, 0)
    assert (await worker.claim(1)).next_in_seconds == pytest.approx(40, abs=1)

    assert await any_rig.queue.wake(woken, b"item") is QUEUED
    assert (await any_rig.stats()).delayed == 1
    assert (await claim_one(worker)).inbox == (b"item",)
    any_rig.make_due(timed)
    task = await claim_one(worker)
    assert (task.id, task.inbox) == (timed, ())
    await settle(worker, Failed(task, "no", 3_600_000, 1))
    assert await any_rig.queue.wake(timed, b"late") is PENDING, "a back-off is not cut short"


async def test_a_parked_retry_stays_a_retry_when_it_is_woken(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    await settle(worker, on_inbox(await claim_one(worker)))
    assert (await rig.stats()).delayed == 0
    await rig.queue.wake(task_id, b"item")
    stats = await rig.stats()
    assert (stats.queue_length, stats.queue_length_retries) == (1, 1)
    assert (await claim_one(worker)).attempt == 2
    assert (await rig.stats()).queue_length_retries == 0


async def test_a_crash_loses_no_item(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    await settle(worker, on_inbox(await claim_one(worker)))
    await any_rig.queue.wake(task_id, b"1")
    task = await claim_one(worker)
    await any_rig.queue.wake(task_id, b"2")
    any_rig.expire_lease(task)
    again = await claim_one(worker)
    assert (again.crash_count, again.state, again.inbox) == (1, STATE, (b"1", b"2"))
    assert (await renew(any_rig, worker, [again])).lost == []


async def test_a_loss_of_data_loses_no_item_that_was_handed_out(rig: Rig) -> None:
    first, second = await rig.submit_many(2)
    worker = await rig.worker()
    await rig.queue.wake(first, b"1")
    await rig.queue.wake(first, b"2")
    tasks = (await worker.claim(2)).tasks
    rig.raw.flushall()
    assert await worker.restore(tasks) == [True, True]
    assert await settle(worker, *(Released(task) for task in tasks)) == [QUEUED, QUEUED]
    claimed = {task.id: task.inbox for task in (await worker.claim(2)).tasks}
    assert claimed == {first: (b"1", b"2"), second: ()}


async def test_the_inbox_expires_with_the_record_however_the_task_ends(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    ids = await any_rig.submit_many(4)
    tasks = (await worker.claim(4)).tasks
    for task in tasks:
        await any_rig.queue.wake(task.id, b"item")
    a, b, c, d = tasks
    await settle(worker, Completed(a, b"1", 1), Failed(b, "no", None, 1), Cancelled(c, 1))
    await settle(worker, on_inbox(d))
    assert await any_rig.queue.cancel(d.id) is CANCELLED
    for task_id in ids:
        record, inbox = any_rig.key(f"task:{task_id}"), any_rig.key(f"inbox:{task_id}")
        assert any_rig.raw.ttl(inbox) == any_rig.raw.ttl(record) > 0
    assert indexed(any_rig.server) == []


async def test_a_run_parked_for_an_item_is_cancelled_like_any_waiting_task(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    await settle(worker, on_inbox(await claim_one(worker)))
    assert await any_rig.queue.cancel(task_id) is CANCELLED
    assert indexed(any_rig.server) == []
    with pytest.raises(NotAllowed, match="only tasks that have not ended have an inbox"):
        await any_rig.queue.wake(task_id, b"item")


async def test_a_task_that_is_retried_by_hand_begins_with_an_empty_inbox(rig: Rig) -> None:
    task_id = await rig.submit()
    await rig.queue.wake(task_id, b"item")
    await rig.queue.cancel(task_id)
    await rig.queue.retry(task_id)
    worker = await rig.worker()
    assert (await claim_one(worker)).inbox == ()


async def test_an_inbox_holds_no_more_than_its_maximum(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    for n in range(MAX_INBOX_ITEMS):
        await rig.queue.wake(task_id, b"%d" % n)
    with pytest.raises(InboxFull, match="holds its maximum of 100 items"):
        await rig.queue.wake(task_id, b"one more")
    task = await claim_one(worker)
    assert len(task.inbox) == MAX_INBOX_ITEMS
    assert await settle(worker, on_inbox(task)) == [PENDING]
    assert await rig.queue.wake(task_id, b"x" * MAX_INBOX_ITEM_BYTES) is QUEUED
    with pytest.raises(ValueError, match="the limit is 65536"):
        await rig.queue.wake(task_id, b"x" * (MAX_INBOX_ITEM_BYTES + 1))


async def test_there_is_no_inbox_without_a_task(any_rig: Rig) -> None:
    with pytest.raises(TaskNotFound):
        await any_rig.queue.wake("nowhere", b"item")
    assert any_rig.raw.exists(any_rig.key("inbox:nowhere")) == 0


async def test_a_parked_run_that_has_left_its_index_is_put_back_there(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, on_inbox(await claim_one(worker)))
    rig.raw.delete(rig.key(f"delayed:{TYPE}"))
    assert (await rig.queue.get(task_id)).due_at is None
    assert (await worker.claim(1)).tasks == []
    assert await rig.queue.wake(task_id, b"item") is QUEUED


def old_worker(rig: Rig) -> None:
    """A worker of 0.2.0 is there: it does not say which versions it reads."""
    rig.raw.hset(rig.key("worker:old"), mapping={"info": "{}", "seen": rig.now_ms()})
    rig.raw.expire(rig.key("worker:old"), 60)
    rig.raw.zadd(rig.key("workers"), {"old": rig.now_ms()})


async def test_beside_an_old_worker_a_run_looks_again_soon_instead(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    old_worker(any_rig)
    assert await settle(worker, on_inbox(task)) == [PENDING]
    assert any_rig.field(task_id, "v") == b"1"
    assert (await worker.claim(1)).next_in_seconds == pytest.approx(5, abs=0.5)
    with pytest.raises(UpgradeInProgress, match="a worker that is still there is of an older"):
        await any_rig.queue.wake(task_id, b"item")
    assert any_rig.raw.exists(any_rig.key(f"inbox:{task_id}")) == 0

"""What is damaged in Redis is set aside by whoever meets it; neighbours move, counts stay exact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.taskqueue import Completed, Failed, NotAllowed, Parked, TaskNotFound, TaskStatus
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.damage import LONG_PAYLOAD, RECORDS
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
from tests.servers import RedisServer

QUEUED, RUNNING = TaskStatus.QUEUED, TaskStatus.RUNNING
COMPLETED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.CANCELLED


@pytest.fixture
def damaged_rig(any_server: RedisServer, new_rig: RigFactory) -> Rig:
    """A queue whose keys are not looked at in the end."""
    return new_rig(any_server)


def named(rig: Rig) -> dict[str, str]:
    """What was set aside, and why."""
    entries = rig.raw.xrange(rig.key("damaged"))
    return {fields[b"what"].decode(): fields[b"why"].decode() for _, fields in entries}


async def numbers(rig: Rig) -> tuple[int, int, int, int]:
    """The queue's length, what runs, what is delayed, and the retries in the length."""
    stats = await rig.stats()
    return stats.queue_length, stats.running, stats.delayed, stats.queue_length_retries


@pytest.mark.parametrize("kind", RECORDS)
async def test_neighbours_of_a_damaged_task_are_claimed_and_it_is_named(
    damaged_rig: Rig, kind: str
) -> None:
    rig = damaged_rig
    worker = await rig.worker()
    first = await rig.submit()
    damaged = await rig.submit(LONG_PAYLOAD if "payload" in kind else b"{}")
    last = await rig.submit()
    await rig.stats()
    RECORDS[kind](rig.raw, TYPE, damaged)
    claim = await worker.claim(10)
    assert ids(claim) == [first, last]
    await settle(worker, *(Completed(task, b"null", 1) for task in claim.tasks))
    assert await numbers(rig) == (0, 0, 0, 0)
    assert [what for what in named(rig) if damaged in what]
    assert (await rig.queue.stats()).damaged_total == 1
    assert await rig.status(first) is COMPLETED
    if kind != "a delayed task that has ended":  # of this one the record is all right
        with pytest.raises(TaskNotFound):
            await rig.queue.get(damaged)


@pytest.mark.parametrize("kind", [kind for kind in RECORDS if "ended" not in kind])
async def test_a_damaged_task_is_not_there_for_clients(damaged_rig: Rig, kind: str) -> None:
    rig = damaged_rig
    damaged, other = await rig.submit(), await rig.submit()
    RECORDS[kind](rig.raw, TYPE, damaged)
    looked_at = await rig.queue.get_many([damaged, other])
    assert looked_at[1] is not None
    for call in (rig.queue.cancel, rig.queue.retry):
        if looked_at[0] is None:
            with pytest.raises(TaskNotFound):
                await call(damaged)
    assert await rig.queue.dead_letters(TYPE) == []
    await rig.queue.cancel(other)
    worker = await rig.worker()
    assert ids(await worker.claim(10)) == ([] if looked_at[0] is None else ids_left(kind, damaged))
    assert await rig.length() == 0


def ids_left(kind: str, damaged: str) -> list[str]:
    """What only a claim finds out is not there for it either."""
    assert kind in ("another type", "a parked run without its state") or "payload" in kind
    return []


async def test_what_is_damaged_is_kept_aside_for_a_week(rig: Rig) -> None:
    worker = await rig.worker()
    damaged = await rig.submit(LONG_PAYLOAD)
    rig.raw.hset(rig.key(f"task:{damaged}"), "m", "x")
    assert ids(await worker.claim(1)) == []
    assert named(rig) == {f"task:{damaged}": "its field m is not a number: x"}
    aside = rig.key(f"aside:task:{damaged}")
    assert rig.raw.hget(aside, "m") == b"x"
    for name in (aside, rig.key(f"payload:{damaged}")):
        assert 0 < rig.raw.ttl(name) <= 7 * 24 * 3600
    rig.raw.delete(rig.key(f"payload:{damaged}"))


async def test_the_list_of_damage_is_capped(rig: Rig) -> None:
    worker = await rig.worker()
    task_ids = await rig.submit_many(1_100)
    rig.raw.delete(*(rig.key(f"task:{task_id}") for task_id in task_ids))
    while (await worker.claim(100)).more:
        pass
    assert rig.raw.xlen(rig.key("damaged")) <= 1_100  # whole nodes of a stream are cut
    assert (await rig.queue.stats()).damaged_total == 1_100


async def test_each_damage_is_told_to_one_heartbeat(rig: Rig) -> None:
    worker, other = await rig.worker("w1"), await rig.worker("w2")
    damaged = await rig.submit()
    rig.raw.delete(rig.key(f"task:{damaged}"))
    await worker.claim(1)
    found = [*(await renew(rig, other)).damaged, *(await renew(rig, worker)).damaged]
    assert [damage.what for damage in found] == [f"task:{damaged}"]
    rig.raw.delete(rig.key("damaged"))  # cleared by hand
    damaged = await rig.submit()
    rig.raw.set(rig.key(f"task:{damaged}"), "x")
    await worker.claim(1)
    assert [damage.what for damage in (await renew(rig, worker)).damaged] == [f"task:{damaged}"]


# Counting cancelled and vanished ids


async def test_a_cancelled_record_that_expired_and_one_that_vanished_are_told_apart(
    any_rig: Rig,
) -> None:
    rig = any_rig
    worker = await rig.worker()
    expired, vanished, cancelled, waiting = [await rig.submit() for _ in range(4)]
    await rig.queue.cancel(expired)
    await rig.queue.cancel(cancelled)
    assert await rig.length() == 2
    rig.raw.delete(rig.key(f"task:{expired}"), rig.key(f"task:{vanished}"))
    late = await rig.submit()
    assert ids(await worker.claim(1)) == [waiting]
    # All four are out of the list, and one stands in it.
    assert await rig.length() == 1
    assert list(named(rig)) == [f"task:{vanished}"]
    assert ids(await worker.claim(1)) == [late]
    assert await rig.length() == 0


async def test_a_record_cancelled_by_an_older_version_may_have_expired(rig: Rig) -> None:
    worker = await rig.worker()
    expired, waiting = await rig.submit(), await rig.submit()
    await rig.queue.cancel(expired)
    rig.raw.delete(rig.key(f"cancelled:{TYPE}"))  # it kept none
    rig.raw.delete(rig.key(f"task:{expired}"))
    after = await rig.submit()
    assert ids(await worker.claim(1)) == [waiting]
    assert await rig.length() == 1
    assert named(rig) == {}
    await rig.queue.cancel(after)


async def test_gauges_of_an_empty_list_are_made_right(rig: Rig) -> None:
    rig.raw.hset(rig.key(f"counts:{TYPE}"), mapping={"tombstones": -3, "retries_queued": 7})
    assert await numbers(rig) == (0, 0, 0, 0)
    await rig.submit()
    assert await numbers(rig) == (1, 0, 0, 0)


# Standing in no index


async def lost_lease(rig: Rig, worker_id: str = "w1") -> Any:
    """A task that runs, and whose lease is gone."""
    worker = await rig.worker(worker_id)
    await rig.submit()
    task = await claim_one(worker)
    rig.raw.delete(rig.key(f"leases:{TYPE}"))
    return worker, task


async def test_a_task_that_runs_without_a_lease_is_queued_when_it_is_read(any_rig: Rig) -> None:
    rig = any_rig
    worker, task = await lost_lease(rig)
    assert await rig.status(task.id) is QUEUED
    assert await rig.length() == 1
    assert f"task:{task.id}" in named(rig)
    again = await claim_one(worker)
    assert (again.id, again.fence, again.attempt) == (task.id, 2, 1)
    assert await settle(worker, Completed(task, b"1", 1)) == [None]
    await complete(worker, again)


async def test_a_task_that_runs_without_a_lease_is_cancelled_when_that_is_wished(rig: Rig) -> None:
    _, task = await lost_lease(rig)
    assert await rig.queue.cancel(task.id) is CANCELLED
    assert await rig.status(task.id) is CANCELLED
    assert await rig.length() == 0


async def test_a_task_that_runs_without_a_lease_is_queued_by_a_retry(rig: Rig) -> None:
    _, task = await lost_lease(rig)
    assert await rig.queue.retry(task.id) is QUEUED
    assert await rig.length() == 1


async def test_a_task_that_runs_with_a_lease_is_not_touched(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.submit()
    task = await claim_one(worker)
    assert await rig.status(task.id) is RUNNING
    with pytest.raises(NotAllowed):
        await rig.queue.retry(task.id)
    with pytest.raises(NotAllowed):
        await rig.queue.cancel(task.id)
    assert named(rig) == {}


async def test_a_worker_that_reports_gets_its_lost_lease_back(rig: Rig) -> None:
    worker, task = await lost_lease(rig)
    assert (await renew(rig, worker, [task])).lost == []
    assert (await rig.stats()).running == 1
    rig.raw.delete(rig.key(f"leases:{TYPE}"))
    await complete(worker, task, b"1")
    worker, task = await lost_lease(rig)
    assert await settle(worker, Parked(task, 1, b"s", 1)) == [TaskStatus.PENDING]
    worker, task = await lost_lease(rig)
    assert await settle(worker, Failed(task, "no", 0, 1)) == [TaskStatus.PENDING]


async def test_a_task_of_a_worker_that_is_gone_is_queued_without_a_lease_too(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, lease_seconds=0.2)
    _, task = await lost_lease(rig)
    rig.raw.hset(rig.key("worker:w1"), "seen", 1)
    await rig.stats()
    assert await rig.length() == 1
    assert await rig.status(task.id) is QUEUED


async def test_a_pending_task_in_no_index_is_delayed_again_when_it_is_read(rig: Rig) -> None:
    task_id = await rig.submit(delay_seconds=3600)
    rig.raw.delete(rig.key(f"delayed:{TYPE}"))
    due = (await rig.queue.get(task_id)).due_at
    assert due is not None
    assert rig.raw.zscore(rig.key(f"delayed:{TYPE}"), task_id) == int(due.timestamp() * 1000)
    rig.raw.delete(rig.key(f"delayed:{TYPE}"))
    assert await rig.queue.cancel(task_id) is CANCELLED


# While it runs


async def test_a_record_that_is_gone_at_the_end_is_named_and_its_neighbour_ends(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.submit_many(4)
    gone, odd, failed, fine = (await worker.claim(4)).tasks
    rig.raw.delete(rig.key(f"task:{gone.id}"), rig.key(f"task:{odd.id}"))
    rig.raw.rpush(rig.key(f"task:{odd.id}"), "x")
    rig.raw.hset(rig.key(f"task:{failed.id}"), "rc", "x")
    outcomes = [Completed(task, b"1", 1) for task in (gone, odd, fine)]
    assert await settle(worker, *outcomes, Failed(failed, "no", 0, 1)) == [
        None,
        None,
        COMPLETED,
        None,
    ]
    assert named(rig).keys() == {f"task:{task.id}" for task in (gone, odd, failed)}
    assert await numbers(rig) == (0, 0, 0, 0)


async def test_an_entry_of_a_worker_that_cannot_be_read_is_dropped(any_rig: Rig) -> None:
    rig = any_rig
    worker = await rig.worker()
    await rig.submit()
    task = await claim_one(worker)
    rig.raw.hset(rig.key("held:w1"), mapping={"x": "y", "a:b": "1:report", "c:1": "report"})
    [shown] = (await rig.queue.stats()).workers
    assert (shown.busy_slots, len(shown.running)) == (1, 1)
    rig.raw.hset(rig.key("held:w1"), mapping={"x": "y", "a:b": "1:report"})
    assert (await renew(rig, worker, [task])).lost == []
    rig.raw.hset(rig.key("held:w1"), "x", "y")
    await worker.deregister()
    assert rig.raw.exists(rig.key("held:w1")) == 0
    assert await rig.status(task.id) is QUEUED


@pytest.mark.parametrize("change", ["absent", "no number", "another type", "no JSON"])
async def test_a_workers_entry_that_cannot_be_read_costs_the_others_nothing(
    rig: Rig, change: str
) -> None:
    worker, _ = await rig.worker("w1"), await rig.worker("w2")
    entry = rig.key("worker:w1")
    if change == "absent":
        rig.raw.hdel(entry, "seen")
    elif change == "no number":
        rig.raw.hset(entry, "seen", "x")
    elif change == "no JSON":
        rig.raw.hset(entry, "info", "{")
    else:
        rig.raw.delete(entry)
        rig.raw.set(entry, "x", ex=60)
    shown = {status.id for status in (await rig.queue.stats()).workers}
    assert "w2" in shown
    assert ("w1" in shown) is (change in ("absent", "no number"))
    if change in ("absent", "no number"):
        assert (await renew(rig, worker)).lost == []


async def test_a_drain_mark_that_would_stay_ends_as_one_does(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.submit()
    rig.raw.set(rig.key("drain:w1"), "x")
    assert (await worker.claim(1)).draining
    assert 0 < rig.raw.pttl(rig.key("drain:w1")) <= 60_000
    rig.raw.delete(rig.key("drain:w1"))
    rig.raw.rpush(rig.key("drain:w1"), "x")
    assert not (await renew(rig, worker)).draining
    assert len((await worker.claim(1)).tasks) == 1


async def test_a_submit_meets_something_that_is_no_record(rig: Rig) -> None:
    odd, part = new_task(), new_task()
    rig.raw.rpush(rig.key(f"task:{odd.id}"), "x")
    rig.raw.hset(rig.key(f"task:{part.id}"), mapping={"m": "x", "t": "y"})
    for task in (odd, part):
        assert (await rig.queue.submit(task)).created
    assert ids(await (await rig.worker()).claim(9)) == [odd.id, part.id]


async def test_numbers_of_the_last_hour_that_cannot_be_read_are_none(rig: Rig) -> None:
    await rig.submit()
    minute = rig.now_ms() // 60_000
    rates = rig.key(f"rates:{TYPE}:{minute}")
    rig.raw.hset(rates, mapping={f"a{n}": "x" for n in range(12)})
    assert (await rig.queue.history(TYPE))[-1].arrivals == 0
    await rig.submit()
    rig.raw.hset(rig.key(f"histogram:{TYPE}"), mapping={"ws": "x", "r1": "y"})
    stats = await rig.queue.stats([TYPE])
    assert json.dumps(stats.waiting[TYPE].counts)
    await rig.queue.types()

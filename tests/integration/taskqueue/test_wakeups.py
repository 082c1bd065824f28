"""Idle workers: woken at once, one by one, and never by popping tasks; no queue starves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from headrace.taskqueue import Claim, Completed, Consumer, Failed, NoReply, Released, TaskStatus
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import (
    TYPE,
    Rig,
    blocked,
    ids,
    new_task,
    settle,
    until,
    waiting,
)
from tests.keyspace import indexed
from tests.servers import RedisServer


async def test_a_waiting_worker_is_woken_at_once(any_rig: Rig) -> None:
    [claim] = await waiting(any_rig, [await any_rig.worker()])
    began = time.monotonic()
    task_id = await any_rig.submit()
    assert ids(await claim) == [task_id]
    assert time.monotonic() - began < 2


async def test_waiting_ends_after_its_time_with_an_empty_claim(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    began = time.monotonic()
    assert (await worker.wait_and_claim(1, 0.1)).tasks == []
    assert 0.1 <= time.monotonic() - began < 1


@pytest.mark.parametrize("seconds", [0.0, 0.0001, -1.0])
async def test_a_wait_of_no_time_does_not_wait_for_ever(any_rig: Rig, seconds: float) -> None:
    worker = await any_rig.worker()
    async with asyncio.timeout(0.9):  # of the time-out for the reply
        assert (await worker.wait_and_claim(1, seconds)).tasks == []


async def test_a_burst_wakes_all_idle_workers_one_after_the_other(any_rig: Rig) -> None:
    workers = [await any_rig.worker(f"w{n}") for n in range(6)]
    claims = await waiting(any_rig, workers)
    submitted = await any_rig.queue.submit_many([new_task() for _ in range(6)])
    async with asyncio.timeout(2):
        got = await asyncio.gather(*claims)
    assert [len(claim.tasks) for claim in got] == [1] * 6
    assert {task.id for claim in got for task in claim.tasks} == {s.id for s in submitted}


async def test_a_single_task_wakes_a_single_worker(any_rig: Rig) -> None:
    workers = [await any_rig.worker(f"w{n}") for n in range(4)]
    claims = await waiting(any_rig, workers, seconds=0.4)
    any_rig.raw.config_resetstat()
    await any_rig.submit()
    done, _ = await asyncio.wait(claims, return_when=asyncio.FIRST_COMPLETED)
    assert [len(claim.result().tasks) for claim in done] == [1]
    assert any_rig.raw.info("clients")["blocked_clients"] == 3
    got = Counter(len(claim.tasks) for claim in await asyncio.gather(*claims))
    assert got == {1: 1, 0: 3}


async def test_many_submits_leave_at_most_one_token(rig: Rig) -> None:
    worker = await rig.worker()
    for _ in range(5):
        await rig.submit()
    assert rig.raw.llen(rig.key(f"wake:{TYPE}")) == 1
    await worker.claim(2)
    assert rig.raw.llen(rig.key(f"wake:{TYPE}")) == 1


@pytest.mark.parametrize("limit", [1, 3])
async def test_whoever_leaves_work_behind_wakes_the_next(rig: Rig, limit: int) -> None:
    busy, idle = await rig.worker("busy"), await rig.worker("idle")
    await rig.submit_many(4)
    rig.raw.delete(rig.key(f"wake:{TYPE}"))
    [claim] = await waiting(rig, [idle])
    taken = await busy.claim(limit)
    assert taken.more
    async with asyncio.timeout(3):
        assert len((await claim).tasks) == 1


async def test_a_task_that_is_handed_back_or_due_wakes_a_worker(any_rig: Rig) -> None:
    leaving, idle = await any_rig.worker("leaving"), await any_rig.worker("idle")
    await any_rig.submit()
    [task] = (await leaving.claim(1)).tasks
    any_rig.raw.delete(any_rig.key(f"wake:{TYPE}"))
    [claim] = await waiting(any_rig, [idle])
    await settle(leaving, Released(task))
    async with asyncio.timeout(3):
        [again] = (await claim).tasks
    [claim] = await waiting(any_rig, [leaving])
    await settle(idle, Failed(again, "no", 50, 1))
    async with asyncio.timeout(3):
        # The token says that there is a new time to wait for.
        woken = await claim
        assert woken.tasks == []
        assert woken.next_in_seconds is not None
        assert woken.next_in_seconds <= 0.05
        assert ids(await leaving.wait_and_claim(1, woken.next_in_seconds)) == [again.id]


async def test_taking_back_an_expired_lease_wakes_a_worker(any_rig: Rig) -> None:
    dead, idle = await any_rig.worker("dead"), await any_rig.worker("idle")
    await any_rig.submit()
    [task] = (await dead.claim(1)).tasks
    any_rig.raw.delete(any_rig.key(f"wake:{TYPE}"))
    [claim] = await waiting(any_rig, [idle])
    any_rig.expire_lease(task)
    await any_rig.queue.reap([TYPE])
    async with asyncio.timeout(3):
        assert ids(await claim) == [task.id]


async def test_a_claim_tells_when_the_next_lease_ends(rig: Rig) -> None:
    first, other = await rig.worker("one"), await rig.worker("other")
    assert (await first.claim(1)).next_in_seconds is None
    await rig.submit()
    await first.claim(1)
    assert (await other.claim(1)).next_in_seconds == pytest.approx(15, abs=0.5)


async def test_a_lost_wake_up_costs_no_more_than_the_wait(any_rig: Rig) -> None:
    await any_rig.submit()
    any_rig.raw.delete(any_rig.key(f"wake:{TYPE}"))
    worker = await any_rig.worker()
    began = time.monotonic()
    assert len((await worker.wait_and_claim(1, 0.2)).tasks) == 1
    assert time.monotonic() - began < 1.2


async def test_a_wait_can_be_cut_short_and_its_claim_is_read(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    await worker.unblock()  # nothing waits: no error
    [claim] = await waiting(any_rig, [worker])
    await worker.unblock()
    async with asyncio.timeout(3):
        assert (await claim).tasks == []
    await worker.unblock()
    assert (await worker.wait_and_claim(1, 0.01)).tasks == []


async def test_a_wait_survives_that_redis_forgot_the_scripts(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    [claim] = await waiting(any_rig, [worker])
    any_rig.raw.script_flush()
    task_id = await any_rig.submit()
    assert ids(await claim) == [task_id]


async def test_a_wait_whose_connection_is_cut_is_no_reply_and_the_next_one_works(
    any_rig: Rig,
) -> None:
    worker = await any_rig.worker()
    [claim] = await waiting(any_rig, [worker])
    any_rig.server.cut_connections()
    with pytest.raises(NoReply):
        await claim
    task_id = await any_rig.submit()
    assert ids(await worker.wait_and_claim(1, 1)) == [task_id]


async def test_a_worker_that_dies_while_it_waits_takes_no_task_along(any_rig: Rig) -> None:
    dying, other = await any_rig.worker("dying"), await any_rig.worker("other")
    [claim] = await waiting(any_rig, [dying])
    await dying.close()
    with pytest.raises(NoReply):
        await claim
    await blocked(any_rig, 0)
    task_id = await any_rig.submit()
    assert ids(await other.wait_and_claim(1, 1)) == [task_id]


async def test_a_worker_waits_on_all_its_queues_at_once(any_rig: Rig) -> None:
    worker = await any_rig.worker(queues=("a", "b", "c"))
    for task_type in "bca":
        [claim] = await waiting(any_rig, [worker])
        task_id = await any_rig.submit(task_type=task_type)
        assert ids(await claim) == [task_id]


async def test_no_queue_starves_another(any_rig: Rig) -> None:
    for task_type in ("a", "b", "c"):
        await any_rig.submit_many(60, task_type=task_type)
    worker = await any_rig.worker(queues=("a", "b", "c"))
    one_by_one: Counter[str] = Counter()
    for _ in range(12):
        one_by_one.update(task.type for task in (await worker.claim(1)).tasks)
    assert one_by_one == {"a": 4, "b": 4, "c": 4}
    together: Counter[str] = Counter()
    for _ in range(6):
        claim = await worker.claim(10)
        assert len(claim.tasks) == 10
        share = Counter(task.type for task in claim.tasks)
        assert share.keys() == {"a", "b", "c"}
        assert min(share.values()) >= 2
        together += share
    assert max(together.values()) - min(together.values()) <= 3


async def test_many_workers_at_once_take_each_task_once(any_rig: Rig) -> None:
    workers = [await any_rig.worker(f"w{n}") for n in range(8)]
    submitted = await any_rig.submit_many(500)
    taken: list[str] = []

    async def work(worker: Consumer) -> None:
        claim: Claim | None = await worker.claim(7)
        while claim and claim.tasks:
            taken.extend(ids(claim))
            settlements = [Completed(task, b"1", 1) for task in claim.tasks]
            statuses, claim = await worker.settle(settlements, claim_limit=7)
            assert set(statuses) == {TaskStatus.COMPLETED}

    await asyncio.gather(*(work(worker) for worker in workers))
    assert sorted(taken) == sorted(submitted)
    assert indexed(any_rig.server) == []
    assert (await any_rig.stats()).completions_total == 500


async def test_a_worker_takes_all_it_can_where_only_one_queue_has_work(rig: Rig) -> None:
    worker = await rig.worker(queues=("a", "b", "c"))
    await rig.submit_many(10, task_type="b")
    assert len((await worker.claim(10)).tasks) == 10


async def test_a_busy_worker_finishes_and_claims_in_one_round_trip(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server)
    await rig.submit_many(4)
    worker = await rig.worker()
    tasks = (await worker.claim(2)).tasks
    statuses, claim = await worker.settle([Completed(t, b"1", 1) for t in tasks], claim_limit=2)
    assert len(statuses) == 2
    assert claim is not None
    assert len(claim.tasks) == 2
    assert not claim.more


async def test_a_busy_worker_still_sees_what_is_due_and_whose_lease_ended(any_rig: Rig) -> None:
    dead, busy = await any_rig.worker("dead"), await any_rig.worker("busy")
    lost = await any_rig.submit()
    [crashed] = (await dead.claim(1)).tasks
    delayed = await any_rig.submit(delay_seconds=60)
    await any_rig.submit_many(1000)
    claim: Claim | None = await busy.claim(1)
    any_rig.expire_lease(crashed)
    any_rig.make_due(delayed)

    async def finish_and_claim() -> list[str]:
        nonlocal claim
        assert claim is not None
        settlements = [Completed(task, b"1", 1) for task in claim.tasks]
        _, claim = await busy.settle(settlements, claim_limit=1)
        return ids(claim)

    await until(finish_and_claim, lambda claimed: claimed == [lost], seconds=3)
    assert await any_rig.status(delayed) is TaskStatus.QUEUED
    assert (await any_rig.stats()).queue_length > 0


async def test_a_claim_beside_reports_brings_what_is_due_when_nothing_else_waits(
    any_rig: Rig,
) -> None:
    worker = await any_rig.worker()
    await any_rig.submit()
    [task] = (await worker.claim(1)).tasks
    delayed = await any_rig.submit(delay_seconds=60)
    any_rig.make_due(delayed)
    _, claim = await worker.settle([Completed(task, b"1", 1)], claim_limit=2)
    assert ids(claim) == [delayed]

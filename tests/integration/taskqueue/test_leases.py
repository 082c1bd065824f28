"""Leases: renewed, lost, given back, taken back after a crash; Redis's absence is not a crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.taskqueue import (
    Completed,
    NoReply,
    NotSent,
    TaskStatus,
    WorkerNotFound,
)
from headrace.taskqueue.redis.link import Link
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import (
    TYPE,
    Rig,
    claim_one,
    complete,
    ids,
    renew,
    settle,
    until,
)
from tests.keyspace import indexed
from tests.servers import RedisServer

QUEUED, RUNNING = TaskStatus.QUEUED, TaskStatus.RUNNING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED


def lease_ends(rig: Rig, task_id: str, fence: int = 1) -> float:
    end = rig.raw.zscore(rig.key(f"leases:{TYPE}"), f"{task_id}:{fence}")
    assert end is not None
    return float(end)


async def test_a_heartbeat_renews_the_leases_that_it_lists(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    any_rig.expire_lease(task)
    renewal = await renew(any_rig, worker, [task])
    assert (renewal.lost, renewal.cancelled, renewal.draining) == ([], [], False)
    left = lease_ends(any_rig, task.id) - any_rig.now_ms()
    assert left == pytest.approx(15_000, abs=500)
    assert await any_rig.queue.reap([TYPE]) == 0


async def test_a_heartbeat_tells_what_was_lost_and_what_shall_stop(any_rig: Rig) -> None:
    await any_rig.submit_many(3)
    slow, fast = await any_rig.worker("slow"), await any_rig.worker("fast")
    kept, lost, cancelled = (await slow.claim(3)).tasks
    any_rig.expire_lease(lost)
    await claim_one(fast)
    await any_rig.queue.cancel(cancelled.id, running=True)

    renewal = await renew(any_rig, slow, [kept, lost, cancelled])
    assert (renewal.lost, renewal.cancelled) == ([lost.hold], [cancelled.hold])
    assert await any_rig.status(lost.id) is RUNNING
    assert await complete(slow, kept) is COMPLETED


@pytest.mark.parametrize("way", ["claim", "wait_and_claim", "settle"])
async def test_what_the_last_claim_took_is_given_back_when_it_brought_an_error(
    rig: Rig, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()

    def deaf(link: Link, method: str) -> None:
        real = getattr(link, method)

        async def call(*args: Any, **options: Any) -> Any:
            await real(*args, **options)
            raise NoReply("silent")

        monkeypatch.setattr(link, method, call)

    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "claim": lambda: worker.claim(1),
        "wait_and_claim": lambda: worker.wait_and_claim(1, 0.1),
        "settle": lambda: worker.settle([], 1),
    }
    deaf(worker._link, "call" if way == "claim" else "call_together")
    deaf(worker._wait_link, "call_together")
    with pytest.raises(NoReply):
        await calls[way]()
    assert await rig.status(task_id) is RUNNING
    # The worker stops, and claims no more.
    await renew(rig, worker)
    record = await rig.queue.get(task_id)
    assert (record.status, record.crash_count) == (QUEUED, 0)


async def test_a_claim_whose_reply_was_lost_is_given_back_without_a_crash(any_rig: Rig) -> None:
    [first, second] = await any_rig.submit_many(2)
    worker = await any_rig.worker()
    before = await claim_one(worker)
    await worker.claim(1)  # its reply is lost
    await worker.claim(1)  # the next claim: what the earlier ones brought has been handed over
    assert worker.settled_request == 2

    renewal = await renew(any_rig, worker, [before])
    assert renewal.lost == []
    record = await any_rig.queue.get(second)
    assert (record.status, record.crash_count) == (QUEUED, 0)
    assert before.id == first
    assert (await any_rig.stats()).queue_length_retries == 0
    again = await claim_one(worker)
    assert (again.id, again.attempt, again.fence) == (second, 1, 2)


async def test_a_claim_in_flight_is_not_given_back(rig: Rig) -> None:
    # The snapshot of what is held was taken before this claim's reply came.
    await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    await renew(rig, worker, [], settled_request=worker.settled_request)
    assert await rig.status(task.id) is RUNNING
    assert await complete(worker, task) is COMPLETED


async def test_many_lost_replies_never_make_a_task_poison(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    for _ in range(6):
        await worker.claim(1)
        await worker.claim(1)
        await renew(rig, worker, [])
    record = await rig.queue.get(task_id)
    assert (record.status, record.crash_count) == (QUEUED, 0)


async def test_a_heartbeat_of_an_unknown_worker_is_refused(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    any_rig.raw.delete(any_rig.key("worker:w1"))
    with pytest.raises(WorkerNotFound, match="w1"):
        await renew(any_rig, worker)
    await worker.register()
    await renew(any_rig, worker)


async def test_an_expired_lease_is_a_crash_and_the_task_goes_to_the_front(any_rig: Rig) -> None:
    [first, second] = await any_rig.submit_many(2)
    dead, other = await any_rig.worker("dead"), await any_rig.worker("other")
    task = await claim_one(dead)
    any_rig.expire_lease(task)
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running, stats.queue_length_retries) == (2, 0, 1)

    claim = await other.claim(2)
    assert ids(claim) == [first, second]
    assert [t.crash_count for t in claim.tasks] == [1, 0]
    assert [t.attempt for t in claim.tasks] == [2, 1]
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running, stats.crashes_total) == (0, 2, 1)
    assert (stats.queue_length_retries, stats.retries_total) == (0, 0)
    assert any_rig.raw.exists(any_rig.key("held:dead")) == 0


async def test_a_task_that_is_lost_four_times_fails(any_rig: Rig) -> None:
    task_id = await any_rig.submit(max_retries=10)
    worker = await any_rig.worker()
    for crash in range(1, 5):
        any_rig.expire_lease(await claim_one(worker))
        assert await any_rig.queue.reap([TYPE]) == 1
        record = await any_rig.queue.get(task_id)
        assert (record.crash_count, record.retry_count) == (crash, 0)
        assert record.status is (FAILED if crash == 4 else QUEUED)
    record = await any_rig.queue.get(task_id)
    assert record.error == "the worker was lost 4 times while it ran this task"
    assert [task.id for task in await any_rig.queue.dead_letters(TYPE)] == [task_id]
    stats = await any_rig.stats()
    assert (stats.crashes_total, stats.failures_total, stats.retries_total) == (4, 1, 0)
    assert indexed(any_rig.server) == []


async def test_a_lost_task_that_was_asked_to_stop_is_cancelled(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    await rig.queue.cancel(task_id, running=True)
    rig.expire_lease(task)
    await rig.queue.reap([TYPE])
    assert await rig.status(task_id) is CANCELLED
    assert indexed(rig.server) == []


async def test_a_finished_task_is_never_failed_afterwards(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    await complete(worker, task)
    rig.redis_was_away(0)
    rig.raw.hset(rig.key("meta"), "grace", 0)
    assert await rig.queue.reap([TYPE]) == 0
    assert await rig.status(task.id) is COMPLETED


async def test_hundreds_of_expired_leases_are_taken_back_in_bounded_calls(rig: Rig) -> None:
    await rig.submit_many(250)
    worker = await rig.worker()
    tasks = (await worker.claim(250)).tasks
    rig.expire_lease(*tasks)
    assert await rig.length() == 250
    assert [await rig.queue.reap([TYPE]) for _ in range(4)] == [100, 100, 50, 0]
    assert await rig.length() == 250


async def test_a_silent_workers_task_runs_again_right_after_its_lease(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server, lease_seconds=0.4)
    task_id = await rig.submit()
    dead, alive = await rig.worker("dead"), await rig.worker("alive")
    began = time.monotonic()
    await claim_one(dead)

    async def heartbeat_and_claim() -> list[str]:
        await renew(rig, alive)
        return ids(await alive.claim(1))

    assert await until(heartbeat_and_claim, bool) == [task_id]
    assert 0.39 <= time.monotonic() - began < 1.4
    assert (await rig.queue.get(task_id)).crash_count == 1


async def test_a_hanging_redis_is_no_crash_of_the_workers(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server, lease_seconds=0.6)
    task_id = await rig.submit()
    holder, other = await rig.worker("holder"), await rig.worker("other")
    task = await claim_one(holder)
    assert (await other.wait_and_claim(1, 0.01)).tasks == []
    any_server.pause()
    with pytest.raises(NoReply):
        await other.wait_and_claim(1, 0.01)  # longer than a lease: the queue's time-out is 1 s
    any_server.resume()

    # The lease has ended, yet for one lease nothing is taken back, whoever asks.
    claim = await other.claim(1)
    assert claim.tasks == []
    assert claim.next_in_seconds is not None
    assert 0 < claim.next_in_seconds <= 0.6
    assert await rig.queue.reap([TYPE]) == 0
    stats = await rig.stats()
    assert (stats.queue_length, stats.running, stats.queue_length_retries) == (0, 1, 0)
    assert {worker.id for worker in (await rig.queue.stats()).workers} == {"holder", "other"}
    assert await complete(holder, task) is COMPLETED
    assert (await rig.queue.get(task_id)).crash_count == 0


async def test_four_outages_are_no_crash_at_all(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    holder, other = await any_rig.worker("holder"), await any_rig.worker("other")
    task = await claim_one(holder)
    for _ in range(4):
        any_rig.expire_lease(task)
        any_rig.redis_was_away(30_000)
        assert (await other.claim(1)).tasks == []
        assert (await renew(any_rig, holder, [task])).lost == []
    assert await complete(holder, task) is COMPLETED
    assert (await any_rig.queue.get(task_id)).crash_count == 0


async def test_who_does_not_come_back_within_a_lease_after_an_outage_has_crashed(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, lease_seconds=0.3)
    task_id = await rig.submit()
    dead, alive = await rig.worker("dead"), await rig.worker("alive")
    task = await claim_one(dead)
    rig.expire_lease(task)
    rig.redis_was_away(30_000)
    began = time.monotonic()

    async def claim() -> list[str]:
        return ids(await alive.claim(1))

    assert await until(claim, bool) == [task_id]
    assert 0.29 <= time.monotonic() - began < 1.3
    assert await settle(dead, Completed(task, b"1", 1)) == [None]


async def test_a_short_pause_is_not_an_outage(rig: Rig) -> None:
    await rig.submit()
    dead, alive = await rig.worker("dead"), await rig.worker("alive")
    task = await claim_one(dead)
    rig.expire_lease(task)
    rig.redis_was_away(rig.queue.installation.lease_ms // 2 - 500)
    assert (await claim_one(alive)).crash_count == 1


async def test_a_worker_says_goodbye_and_what_it_holds_goes_back(any_rig: Rig) -> None:
    [task_id, _] = await any_rig.submit_many(2)
    leaving, staying = await any_rig.worker("leaving"), await any_rig.worker("staying")
    await claim_one(leaving)
    await any_rig.queue.drain("leaving")
    await leaving.deregister()

    assert [worker.id for worker in (await any_rig.queue.stats()).workers] == ["staying"]
    again = await claim_one(staying)
    assert (again.id, again.crash_count) == (task_id, 0)
    assert any_rig.raw.keys(any_rig.key("*:leaving")) == []


async def test_a_waiting_heartbeat_comes_at_once_when_it_is_wanted(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    await claim_one(worker)
    renewer = any_rig.renewer(worker)
    assert not await asyncio.to_thread(renewer.wait_for_signal, 0.01)
    assert not await asyncio.to_thread(renewer.wait_for_signal, 0)

    waiting = asyncio.ensure_future(asyncio.to_thread(renewer.wait_for_signal, 5))
    began = time.monotonic()
    await any_rig.queue.cancel(task_id, running=True)
    assert await waiting
    assert time.monotonic() - began < 2


async def test_a_heartbeat_while_redis_is_away_was_not_sent_and_comes_back(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server)
    worker = await rig.worker()
    renewer = rig.renewer(worker)
    server.kill()
    with pytest.raises(NotSent, match="cannot be reached"):
        await asyncio.to_thread(renewer.renew, [], [], 0)
    with pytest.raises(NotSent):
        await asyncio.to_thread(renewer.wait_for_signal, 0.05)
    server.start()
    await worker.register()
    await asyncio.to_thread(renewer.renew, [], [], 0)
    assert not await asyncio.to_thread(renewer.wait_for_signal, 0.05)

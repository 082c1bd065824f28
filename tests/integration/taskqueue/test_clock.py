"""Redis's clock ran ahead by hours, and is right again: nothing waits for longer than a lease.

The clock is not turned: what it would have left in Redis is, all of it, by so much.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.taskqueue import Consumer, Failed, Parked, TaskStatus
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, ids, renew, settle, until
from tests.servers import RedisServer

HOUR_MS = 3_600_000
AHEAD_MS = 8 * HOUR_MS
LEASE_SECONDS = 0.6
LEASE_MS = 600


@pytest.fixture
def ahead(any_server: RedisServer, new_rig: RigFactory) -> Rig:
    """A queue with a short lease. Redis's own expiries are not looked at in the end."""
    return new_rig(any_server, lease_seconds=LEASE_SECONDS)


def clock_went_back(rig: Rig, by_ms: int = AHEAD_MS) -> None:
    """As if all that is there was written by a clock that ran ahead, and now is right."""
    raw: Any = rig.raw
    for kind, fields in (
        ("meta", ("seen", "grace")),
        ("worker:*", ("seen",)),
        ("task:*", ("c", "q", "d", "b")),
    ):
        for name in raw.scan_iter(match=rig.key(kind)):
            for field in fields:
                if raw.hexists(name, field):
                    raw.hincrby(name, field, by_ms)
    for kind in ("workers", "leases:*", "retries:*"):
        for name in raw.scan_iter(match=rig.key(kind)):
            for member, score in raw.zrange(name, 0, -1, withscores=True):
                raw.zadd(name, {member: score + by_ms})
    for name in raw.scan_iter(match=rig.key("drain:*")):
        raw.pexpire(name, raw.pttl(name) + by_ms)
    for name in list(raw.scan_iter(match=rig.key("rates:*"))):
        front, _, minute = name.decode().rpartition(":")
        raw.rename(name, f"{front}:{int(minute) + by_ms // 60_000}")


async def next_claim(worker: Consumer, seconds: float) -> list[str]:
    """The ids that a worker's next claim brings which is not empty, within so long."""

    async def claim() -> list[str]:
        return ids(await worker.claim(1))

    return await until(claim, bool, seconds=seconds)


async def test_tasks_of_a_lost_worker_are_taken_back_after_a_lease(ahead: Rig) -> None:
    gone, other = await ahead.worker("gone"), await ahead.worker("other")
    task_id = await ahead.submit()
    await claim_one(gone)
    ahead.raw.hset(ahead.key("meta"), "grace", ahead.now_ms() + LEASE_MS)
    clock_went_back(ahead)
    assert await next_claim(other, 3 * LEASE_SECONDS) == [task_id]


async def test_a_time_after_an_outage_that_lies_hours_ahead_ends_after_a_lease(ahead: Rig) -> None:
    gone, other = await ahead.worker("gone"), await ahead.worker("other")
    task_id = await ahead.submit()
    ahead.expire_lease(await claim_one(gone))
    ahead.raw.hset(ahead.key("meta"), "grace", ahead.now_ms() + AHEAD_MS)
    assert await next_claim(other, 3 * LEASE_SECONDS) == [task_id]


async def test_leases_that_lie_far_ahead_alone_are_cut(ahead: Rig) -> None:
    gone, other = await ahead.worker("gone"), await ahead.worker("other")
    task_id = await ahead.submit()
    task = await claim_one(gone)
    ahead.raw.zadd(ahead.key(f"leases:{TYPE}"), {task.hold: "inf"})

    async def claimed() -> list[str]:
        await ahead.stats()
        return ids(await other.claim(1))

    assert await until(claimed, bool, seconds=3 * LEASE_SECONDS) == [task_id]


async def test_a_longer_lease_of_another_worker_is_not_cut(
    ahead: Rig, any_server: RedisServer, new_rig: RigFactory
) -> None:
    patient = new_rig(any_server, lease_seconds=100 * LEASE_SECONDS)
    worker = await patient.worker()
    await patient.submit()
    task = await claim_one(worker)
    ends = patient.raw.zscore(patient.key(f"leases:{TYPE}"), task.hold)
    assert (await ahead.stats()).running == 1
    assert patient.raw.zscore(patient.key(f"leases:{TYPE}"), task.hold) == ends
    assert (await ahead.queue.stats()).damaged_total == 0


async def test_a_worker_that_renews_keeps_its_task(ahead: Rig) -> None:
    worker = await ahead.worker()
    await ahead.submit()
    task = await claim_one(worker)
    await renew(ahead, worker, [task])
    clock_went_back(ahead)
    for _ in range(6):
        await asyncio.sleep(LEASE_SECONDS / 3)
        assert (await renew(ahead, worker, [task])).lost == []
        assert (await ahead.stats()).running == 1
    assert await ahead.status(task.id) is TaskStatus.RUNNING


async def test_a_back_off_is_no_longer_than_it_was_meant_to_be(ahead: Rig) -> None:
    worker = await ahead.worker()
    await ahead.submit_many(3)
    soon, later, parked = (await worker.claim(3)).tasks
    resume = ahead.now_ms() + 9 * HOUR_MS
    await settle(worker, Failed(soon, "no", 100, 1), Failed(later, "no", 5_000, 1))
    await settle(worker, Parked(parked, resume, b"s", 1))
    clock_went_back(ahead)
    stats = await ahead.stats()
    assert (stats.delayed, stats.due_soon) == (3, 2)
    assert await next_claim(worker, 1) == [soon.id]
    due = (await ahead.queue.get(later.id)).due_at
    assert due is not None
    assert due.timestamp() * 1000 - ahead.now_ms() <= 5_000
    # When a parked run goes on was said by its worker's clock.
    assert ahead.raw.zscore(ahead.key(f"delayed:{TYPE}"), parked.id) == resume


async def test_a_run_that_failed_once_and_parked_goes_on_when_it_said(ahead: Rig) -> None:
    worker = await ahead.worker()
    await ahead.submit()
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    resume = ahead.now_ms() + 9 * HOUR_MS
    await settle(worker, Parked(await claim_one(worker), resume, b"s", 1))
    ahead.raw.hset(ahead.key("meta"), "seen", ahead.now_ms() + AHEAD_MS)
    await ahead.stats()
    [(_, due)] = ahead.raw.zrange(ahead.key(f"retries:{TYPE}"), 0, -1, withscores=True)
    assert due == resume


async def test_a_worker_that_is_gone_is_not_shown_for_hours(ahead: Rig) -> None:
    await ahead.worker()
    clock_went_back(ahead)
    assert len((await ahead.queue.stats()).workers) == 1

    async def workers() -> int:
        return len((await ahead.queue.stats()).workers)

    await until(workers, lambda count: count == 0, seconds=5 * LEASE_SECONDS)


async def test_a_drain_mark_ends_when_it_would_have(ahead: Rig) -> None:
    worker = await ahead.worker()
    await ahead.queue.drain("w1")
    clock_went_back(ahead)
    assert (await worker.claim(1)).draining
    assert 0 < ahead.raw.pttl(ahead.key("drain:w1")) <= 60_000


async def test_what_was_counted_for_minutes_to_come_is_not_counted_twice(ahead: Rig) -> None:
    await ahead.submit_many(5)
    await ahead.stats()
    clock_went_back(ahead)
    await ahead.stats()
    assert list(ahead.raw.scan_iter(match=ahead.key("rates:*"))) == []
    await ahead.submit()
    assert (await ahead.queue.history(TYPE))[-1].arrivals == 1
    assert (await ahead.stats()).arrivals_total == 6


async def test_a_worker_that_redis_forgot_alone_keeps_what_it_runs(ahead: Rig) -> None:
    """As when the clock ran ahead for more than its registration is kept."""
    worker = await ahead.worker()
    await ahead.submit()
    task = await claim_one(worker)
    ahead.raw.delete(ahead.key("worker:w1"), ahead.key("held:w1"))
    assert await worker.restore([task]) == [True]
    assert (await renew(ahead, worker, [task])).lost == []
    assert await ahead.status(task.id) is TaskStatus.RUNNING

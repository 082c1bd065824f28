"""Fenced leases, and trimming the indexes of ended tasks under one."""

from __future__ import annotations

import pytest

from headrace.taskqueue import Fenced, FencedLease, tending
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import TYPE, Rig
from tests.servers import RedisServer


def lease_of(rig: Rig) -> FencedLease:
    """A lease of another process each time."""
    return rig.queue.fenced_lease("chores")


def ends_in(rig: Rig, milliseconds: int) -> None:
    """As if the lease had been taken for so long from now."""
    rig.raw.hset(rig.key("tend:chores"), "until", rig.now_ms() + milliseconds)


def fill(rig: Rig, name: str, count: int, age_seconds: int = 0) -> None:
    """Entries of an index, one a millisecond, the last one so old."""
    first = rig.now_ms() - age_seconds * 1000 - count
    for start in range(0, count, 10_000):
        numbers = range(start, min(count, start + 10_000))
        rig.raw.zadd(rig.key(name), {f"{age_seconds}-{n}": first + n for n in numbers})
    rig.raw.expire(rig.key(name), 3600)
    rig.raw.sadd(rig.key("queues"), name.split(":")[1])


def size(rig: Rig, name: str) -> int:
    return int(rig.raw.zcard(rig.key(name)))


async def test_one_process_at_a_time_holds_the_lease(any_rig: Rig) -> None:
    first, second = lease_of(any_rig), lease_of(any_rig)
    assert await first.take()
    assert not await second.take()
    assert await first.take(), "it renews its own"
    assert (first.fence, second.fence) == (1, 0)
    await first.release()
    assert await second.take()
    assert second.fence == 2
    assert not await first.take()


async def test_a_lease_that_has_ended_is_taken_over_and_its_holder_can_do_nothing_more(
    any_rig: Rig,
) -> None:
    first, second = lease_of(any_rig), lease_of(any_rig)
    await first.take()
    fill(any_rig, f"ended:{TYPE}:completed", 3)
    ends_in(any_rig, -1)
    with pytest.raises(Fenced, match="the lease 'chores' has ended"):
        await first.trim_ended(0, 0)
    assert await second.take()
    with pytest.raises(Fenced):
        await first.trim_ended(0, 0)
    assert size(any_rig, f"ended:{TYPE}:completed") == 3
    await first.release()
    assert not await first.take(), "its late release took nothing from the other"
    assert await second.trim_ended(0, 0) == (3, False)


async def test_a_lease_taken_again_after_its_end_has_another_fence(rig: Rig) -> None:
    lease = lease_of(rig)
    await lease.take()
    ends_in(rig, -1)
    assert await lease.take()
    assert lease.fence == 2


async def test_after_a_loss_of_data_the_fence_of_another_holder_is_not_taken_for_ones_own(
    rig: Rig,
) -> None:
    first, second = lease_of(rig), lease_of(rig)
    await first.take()
    rig.raw.flushall()
    await second.take()
    assert first.fence == second.fence == 1
    with pytest.raises(Fenced):
        await first.trim_ended(0, 0)


async def test_a_clock_that_ran_ahead_costs_one_lease(rig: Rig) -> None:
    first, second = lease_of(rig), lease_of(rig)
    await first.take()
    ends_in(rig, 3_600_000)
    assert not await second.take()
    ends = int(rig.raw.hget(rig.key("tend:chores"), "until"))
    assert ends - rig.now_ms() <= tending.LEASE_SECONDS * 1000


async def test_indexes_are_cut_to_their_bound_the_oldest_entries_first(any_rig: Rig) -> None:
    names = [f"ended:{TYPE}:completed", f"ended:{TYPE}:cancelled", "ended:other:completed"]
    for name, count in zip(names, (12, 3, 10), strict=True):
        fill(any_rig, name, count)
    fill(any_rig, f"dead:{TYPE}", 20)
    lease = lease_of(any_rig)
    await lease.take()
    assert await lease.trim_ended(10, 1000) == (2, False)
    assert [size(any_rig, name) for name in names] == [10, 3, 10]
    left = any_rig.raw.zrange(any_rig.key(names[0]), 0, 0)
    assert left == [b"0-2"]
    assert size(any_rig, f"dead:{TYPE}") == 20, "a dead letter stays as long as its record"
    assert await lease.trim_ended(10, 1000) == (0, False)


async def test_all_indexes_together_are_cut_to_their_bound_each_by_its_share(rig: Rig) -> None:
    fill(rig, f"ended:{TYPE}:completed", 90)
    fill(rig, "ended:other:cancelled", 10)
    lease = lease_of(rig)
    await lease.take()
    assert await lease.trim_ended(100, 50) == (50, False)
    sizes = [size(rig, f"ended:{TYPE}:completed"), size(rig, "ended:other:cancelled")]
    assert sizes == [45, 5]


async def test_what_is_older_than_the_retention_leaves_all_indexes(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, retention_seconds=3600)
    for name in (f"ended:{TYPE}:completed", f"ended:{TYPE}:cancelled", f"dead:{TYPE}"):
        fill(rig, name, 2, age_seconds=3601)
        fill(rig, name, 3)
    lease = lease_of(rig)
    await lease.take()
    assert await lease.trim_ended(1000, 1000) == (6, False)
    for name in (f"ended:{TYPE}:completed", f"ended:{TYPE}:cancelled", f"dead:{TYPE}"):
        assert size(rig, name) == 3


async def test_one_call_removes_no_more_than_others_can_wait_for(rig: Rig) -> None:
    fill(rig, f"ended:{TYPE}:completed", 12_000)
    lease = lease_of(rig)
    await lease.take()
    calls = [await lease.trim_ended(1000, 1000) for _ in range(3)]
    assert calls == [(5000, True), (5000, True), (1000, False)]
    assert size(rig, f"ended:{TYPE}:completed") == 1000


async def test_an_index_of_the_wrong_type_is_set_aside(rig: Rig) -> None:
    fill(rig, f"ended:{TYPE}:cancelled", 5)
    rig.raw.set(rig.key(f"ended:{TYPE}:completed"), "x")
    lease = lease_of(rig)
    await lease.take()
    assert await lease.trim_ended(2, 1000) == (3, False)
    assert rig.raw.exists(rig.key(f"aside:ended:{TYPE}:completed"))

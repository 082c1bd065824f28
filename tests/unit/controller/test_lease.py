"""The lead: how long it is certain, who has it next, and what is written of it."""

from __future__ import annotations

import asyncio
import re
import time
from copy import deepcopy
from datetime import datetime

import pytest
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord

from controller import kube, lease
from controller.kube import Json, KubeError
from controller.lease import HELD_SECONDS, Leadership, Lock, Superseded, recorded, renewed

NOBODY = LeaderElectionRecord(None, None, None, None)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """One Lease, written only by those who know its version."""

    def __init__(self, clock: Clock) -> None:
        self.lease: Json | None = None
        self.seconds = 0.0
        """So long each call takes, by the clock."""
        self.fails: Exception | None = None
        self._clock = clock

    async def get(self, path: str) -> Json:
        self._pass()
        if self.lease is None:
            raise KubeError(404, "there is none")
        return deepcopy(self.lease)

    async def create(self, path: str, body: Json) -> Json:
        self._pass()
        assert self.lease is None
        return self._keep(body)

    async def replace(self, path: str, body: Json) -> Json:
        self._pass()
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise KubeError(409, "it has been changed")
        return self._keep(body)

    def _pass(self) -> None:
        self._clock.now += self.seconds
        if self.fails:
            raise self.fails

    def _keep(self, body: Json) -> Json:
        old = self.lease["metadata"]["resourceVersion"] if self.lease else "0"
        version = {"resourceVersion": str(int(old) + 1)}
        self.lease = {**deepcopy(body), "metadata": {**body["metadata"], **version}}
        return deepcopy(self.lease)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock)


def lock(store: Store, clock: Clock, identity: str = "a") -> Lock:
    return Lock(store, "shop", "l", identity, clock)


def holder(store: Store) -> str | None:
    """Who holds the Lease; None: there is no Lease."""
    return store.lease["spec"]["holderIdentity"] if store.lease else None


async def renew(holder: Lock) -> bool:
    """One round as the election does it."""
    found, _ = await holder.get("l", "shop")
    return await (holder.update if found else holder.create)("l", "shop", NOBODY)


async def take_over(rival: Lock, clock: Clock) -> bool:
    """As the election does when it has seen no renewal for as long as the Lease lasts."""
    await rival.get("l", "shop")
    clock.now += lease.LEASE_SECONDS
    return await renew(rival)


async def test_the_lead_is_certain_for_a_while_from_the_beginning_of_a_renewal(
    store: Store, clock: Clock
) -> None:
    leadership = Leadership(store, "shop", "l", "a", clock)
    assert not leadership.held()
    store.seconds = 2.0
    begun = clock.now + 2.0
    assert await renew(leadership._lock)
    assert leadership.held()
    clock.now = begun + HELD_SECONDS - 0.1
    assert leadership.held()
    clock.now = begun + HELD_SECONDS
    assert not leadership.held()
    store.seconds = 0.0
    assert await renew(leadership._lock)
    assert leadership.held()


def test_a_write_begun_while_the_lead_is_certain_ends_before_another_may_lead() -> None:
    assert HELD_SECONDS + kube.CALL_SECONDS < lease.LEASE_SECONDS


@pytest.mark.parametrize("failure", [KubeError(0, "no answer"), KubeError(403, "no")])
async def test_a_call_that_fails_is_a_no_and_no_exception(
    store: Store, clock: Clock, failure: KubeError
) -> None:
    holder = lock(store, clock)
    assert await renew(holder)
    renewed_at, clock.now = holder.renewed_at, clock.now + 1
    assert (await holder.get("l", "shop"))[0]
    store.fails = failure
    assert not await holder.update("l", "shop", NOBODY)
    assert not (await holder.get("l", "shop"))[0]
    assert holder.renewed_at == renewed_at


async def test_a_call_without_an_answer_ends_soon(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> Json:
        await asyncio.sleep(30)
        raise AssertionError

    holder = lock(store, clock)
    assert await renew(holder)
    monkeypatch.setattr(lease, "CALL_SECONDS", 0.05)
    monkeypatch.setattr(store, "get", hang)
    monkeypatch.setattr(store, "replace", hang)
    assert not (await holder.get("l", "shop"))[0]
    assert not await holder.update("l", "shop", NOBODY)


async def test_it_is_known_who_leads_once_the_lease_was_read_or_is_known_to_be_missing(
    store: Store, clock: Clock
) -> None:
    holder = lock(store, clock)
    store.fails = KubeError(403, "no")
    await holder.get("l", "shop")
    assert not holder.answered
    store.fails = None
    await holder.get("l", "shop")
    assert holder.answered


async def test_of_two_that_take_it_at_once_one_gets_it(store: Store, clock: Clock) -> None:
    holder, other = lock(store, clock, "a"), lock(store, clock, "b")
    assert await renew(holder)
    await other.get("l", "shop")
    clock.now += lease.LEASE_SECONDS
    await holder.get("l", "shop")
    await other.get("l", "shop")
    assert await other.update("l", "shop", NOBODY)
    assert not await holder.update("l", "shop", NOBODY)


async def test_who_was_superseded_does_not_lead_again(store: Store, clock: Clock) -> None:
    holder, other = lock(store, clock, "a"), lock(store, clock, "b")
    assert await renew(holder)
    assert await take_over(other, clock)
    with pytest.raises(Superseded, match=r"b holds the Lease now"):
        await holder.get("l", "shop")
    assert holder.renewed_at is None


async def test_a_follower_only_waits(store: Store, clock: Clock) -> None:
    assert await renew(lock(store, clock, "a"))
    found, record = await lock(store, clock, "b").get("l", "shop")
    assert found
    assert isinstance(record, LeaderElectionRecord)
    assert (record.holder_identity, record.lease_duration) == ("a", "10")


async def test_nobody_takes_a_lease_before_it_was_unchanged_for_as_long_as_it_lasts(
    store: Store, clock: Clock
) -> None:
    ours, other = lock(store, clock, "a"), lock(store, clock, "b")
    assert await renew(ours)
    for _ in range(10):
        assert not await renew(other)
        clock.now += lease.LEASE_SECONDS - 0.1
        assert not await renew(other)
        assert await renew(ours)
    assert holder(store) == "a"
    assert await take_over(other, clock)
    assert holder(store) == "b"


async def test_a_lease_that_was_deleted_is_still_counted_on_by_who_had_it(
    store: Store, clock: Clock
) -> None:
    holder, other = lock(store, clock, "a"), lock(store, clock, "b")
    assert await renew(holder)
    await other.get("l", "shop")
    store.lease = None
    assert not await renew(other)
    clock.now += lease.LEASE_SECONDS
    assert await renew(other)


@pytest.mark.parametrize("step", [11.0, 3600.0, -3600.0])
async def test_a_wall_clock_that_is_set_brings_the_take_over_neither_sooner_nor_later(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    wall = Clock()
    monkeypatch.setattr(time, "time", wall)
    assert await renew(lock(store, clock, "a"))
    election = Leadership(store, "shop", "l", "b", clock)._election()
    assert not await election.try_acquire_or_renew()
    wall.now += step
    clock.now += lease.LEASE_SECONDS - 1
    assert not await election.try_acquire_or_renew()
    assert holder(store) == "a"
    clock.now += 1
    assert await election.try_acquire_or_renew()
    assert holder(store) == "b"


async def test_a_released_lease_belongs_to_nobody(store: Store, clock: Clock) -> None:
    leadership = Leadership(store, "shop", "l", "a", clock)
    assert await renew(leadership._lock)
    await leadership.release()
    assert not leadership.held()
    assert holder(store) == ""
    _, record = await lock(store, clock, "b").get("l", "shop")
    assert isinstance(record, LeaderElectionRecord)
    assert record.holder_identity is None


async def test_a_renewal_whose_answer_was_lost_does_not_hinder_the_release(
    store: Store, clock: Clock
) -> None:
    leadership = Leadership(store, "shop", "l", "a", clock)
    assert await renew(leadership._lock)
    assert store.lease is not None
    store.lease["metadata"]["resourceVersion"] = "7"
    await leadership.release()
    assert holder(store) == ""


async def test_nobody_releases_the_lease_of_another(store: Store, clock: Clock) -> None:
    leadership = Leadership(store, "shop", "l", "a", clock)
    await leadership.release()
    assert holder(store) is None
    assert await renew(leadership._lock)
    assert await take_over(lock(store, clock, "b"), clock)
    await leadership.release()
    assert holder(store) == "b"


async def test_the_election_takes_the_lead_and_ends_when_it_is_lost(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RETRY_SECONDS", 1)
    leadership = Leadership(store, "shop", "l", "a", clock)
    election = asyncio.create_task(leadership.run())
    await asyncio.wait_for(leadership.taken.wait(), 5)
    assert leadership.held()
    assert await take_over(lock(store, clock, "b"), clock)
    await asyncio.wait_for(election, 5)
    assert not leadership.held()


def test_a_renewal_keeps_since_when_it_is_held_and_a_change_counts() -> None:
    first = renewed({}, "a", "t1")
    assert first == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 10,
        "acquireTime": "t1",
        "renewTime": "t1",
        "leaseTransitions": 0,
    }
    again = renewed(first, "a", "t2")
    assert (again["acquireTime"], again["renewTime"], again["leaseTransitions"]) == ("t1", "t2", 0)
    other = renewed({**again, "strategy": "x"}, "b", "t3")
    assert (other["acquireTime"], other["leaseTransitions"]) == ("t3", 1)
    assert other["strategy"] == "x"


def test_a_lease_without_a_spec_belongs_to_nobody() -> None:
    assert vars(recorded({"metadata": {}})) == vars(NOBODY)


async def test_times_are_utc_with_six_digits_wherever_the_process_runs(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert await renew(lock(store, clock))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert store.lease is not None
    written = store.lease["spec"]["renewTime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", written)
    assert abs(datetime.fromisoformat(written).timestamp() - time.time()) < 60

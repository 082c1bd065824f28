"""Two operators, of which one acts: killed, told to end, suspended, cut off, without an API server.

The pool is sized by fake stats, and none of its pods runs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.cluster.cluster import Cluster, CommandFailed, Images, eventually
from tests.cluster.operating import TAKEOVER_SECONDS, Operator, needs_tool
from tests.cluster.release import Release, merged, ready, restarts, small
from tests.cluster.unscheduled_pools import FakeStats, UnscheduledPool

ACTS_SECONDS = 5.0
"""Within which it does what there is to do."""
RELEASED_SECONDS = 6.0
"""Within which another operator acts after the leader was told to end."""
SOON_SECONDS = 20.0
RECOVERED_SECONDS = 60.0


@dataclass
class Pair:
    """Two operators and what they size."""

    release: Release
    operator: Operator
    pool: UnscheduledPool
    _sizes: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    def asked(self) -> int:
        """The size that is asked for from now on: one worker more."""
        size = next(self._sizes)
        self.pool.queued(size)
        return size

    def resized(self, seconds: float) -> float:
        """Ask for one worker more. In how many seconds its size was written."""
        began = time.monotonic()
        self.pool.await_size(self.asked(), seconds)
        return time.monotonic() - began

    def leaders(self) -> list[str]:
        """The pods that say that they lead."""
        names = [pod["metadata"]["name"] for pod in self.operator.pods()]
        metric = "headrace_operator_leader"
        return [name for name in names if self.operator.metric(metric, name)]

    def whole(self) -> None:
        """Wait until two operators are ready and one of them leads."""

        def look() -> bool:
            pods = self.operator.pods()
            return len(pods) == 2 and all(ready(pod) for pod in pods) and len(self.leaders()) == 1

        eventually(look, "two operators are ready, and one leads", RECOVERED_SECONDS)
        assert self.leaders() == [self.operator.leader()]


@pytest.fixture(scope="module")
def release(cluster: Cluster, images: Images) -> Iterator[Release]:
    """With two operators, and without workers."""
    with cluster.namespace("pair") as namespace:
        release = Release(cluster, namespace)
        own = {"controller": {"replicas": 2}, "workerDefaults": {"replicas": 0}}
        release.install(merged(small(images), own))
        yield release


@pytest.fixture(scope="module")
def made(release: Release, images: Images) -> Pair:
    """Once for all tests."""
    fake_stats = FakeStats(release.cluster, release.namespace, images.api)
    fake_stats.queued(1, "led")
    pool = UnscheduledPool(release, fake_stats, images.api, "led", maxReplicas=30)
    pool.await_condition("Ready")
    return Pair(release, Operator(release), pool)


@pytest.fixture
def pair(made: Pair) -> Iterator[Pair]:
    """Whole before and after; and whatever happens, each size is told of once, by one of them."""
    made.whole()
    before = len(made.pool.events("ScaledUp", "ScaledDown"))
    with made.pool.sizes() as sizes:
        yield made
        made.whole()
        made.resized(SOON_SECONDS)
        written = [size.replicas for size in sizes.all()]
    assert written == list(range(written[0], written[-1] + 1))

    def is_reported() -> bool:
        events = made.pool.events("ScaledUp", "ScaledDown")[before:]
        notes = [str(event["note"]).partition(" workers")[0] for event in events]
        return notes == [f"{old} -> {new}" for old, new in itertools.pairwise(written)]

    eventually(is_reported, f"the events tell of the sizes {written}", 10)


def test_one_of_the_two_acts(pair: Pair) -> None:
    leader = pair.operator.leader()
    for _ in range(3):
        assert pair.leaders() == [leader]
        pair.resized(SOON_SECONDS)
    events = pair.pool.events("ScaledUp", "ScaledDown")
    assert {event["reportingInstance"] for event in events} == {leader}


def test_when_the_leader_is_killed_the_other_one_takes_over(pair: Pair, counted: list[str]) -> None:
    began = time.monotonic()
    old = pair.operator.shoot()
    size = pair.asked()
    pair.operator.await_leader(TAKEOVER_SECONDS, other_than=old)
    led = time.monotonic() - began
    pair.pool.await_size(size, ACTS_SECONDS)
    acted = time.monotonic() - began
    counted.append(
        f"operator killed: another one leads after {led:.1f} s, acts after {acted:.1f} s"
    )


def test_when_the_leader_is_told_to_end_the_other_one_takes_over_at_once(
    pair: Pair, counted: list[str]
) -> None:
    old = pair.operator.leader()
    pair.release.kubectl("delete", "pod", old, "--wait=false")
    took = pair.resized(RELEASED_SECONDS)
    counted.append(f"operator told to end: another one has acted after {took:.1f} s")
    assert pair.operator.leader() not in ("", old)


def test_a_leader_that_was_suspended_writes_nothing_when_it_goes_on(pair: Pair) -> None:
    old = pair.operator.leader()
    before = restarts(pair.operator.pods())[old]
    pair.operator.signal("STOP", old)
    try:
        pair.resized(TAKEOVER_SECONDS + ACTS_SECONDS)
        new = pair.operator.leader()
        assert new not in ("", old)
    finally:
        pair.operator.signal("CONT", old)

    def started_again() -> bool:
        return restarts(pair.operator.pods())[old] > before

    eventually(started_again, "it has ended and begins again", SOON_SECONDS)
    assert pair.operator.leader() == new


def test_a_leader_that_is_cut_off_gives_way(cluster: Cluster, pair: Pair) -> None:
    needs_tool(cluster, "cut a pod off")
    old = pair.operator.leader()
    address = pair.release.get("pod", old)["status"]["podIP"]
    before = restarts(pair.operator.pods())[old]
    cluster.use_tool("cut", address)
    try:
        pair.resized(TAKEOVER_SECONDS + ACTS_SECONDS)
        assert pair.operator.leader() not in ("", old)
    finally:
        cluster.use_tool("heal", address)

    def started_again() -> bool:
        return restarts(pair.operator.pods())[old] == before + 1

    eventually(started_again, "it has ended and begins again", SOON_SECONDS)


def test_a_restarted_api_server_is_found_again(cluster: Cluster, pair: Pair) -> None:
    needs_tool(cluster, "restart the API server")
    before = restarts(pair.operator.pods())
    cluster.use_tool("restart", "api")

    def answers() -> bool:
        try:
            return bool(pair.operator.pods())
        except CommandFailed:
            return False

    eventually(answers, "the API server answers", RECOVERED_SECONDS)
    pair.resized(RECOVERED_SECONDS)
    after = restarts(pair.operator.pods())
    assert after.keys() == before.keys()
    # One that has lost the lead ends itself; no more than that.
    assert sum(after.values()) - sum(before.values()) <= 1

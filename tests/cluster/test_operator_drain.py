"""The operator is killed in each step of a drain; demand returns, pods die, tasks last for long.

Whatever happens, no task is interrupted, the size ends where it should, and no mark stays. A drain
begins when `maxReplicas` is lowered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.driving import interrupted, types_configmap, types_values
from tests.cluster.operating import Operator, Pool, autoscaling
from tests.cluster.release import Api, Release, merged, small, uids

MOST = 4
QUICK = {"stabilizationSeconds": 3, "cooldownSeconds": 3, "maxReplicas": MOST}
SOON_SECONDS = 30.0
GRACE_SECONDS = 3
"""So short that whoever is told to end at work is interrupted."""
LEASE_SECONDS = 15.0
"""After which another worker takes over what a lost one ran."""


@dataclass
class Drained:
    """A pool under test, its operator, and its API."""

    pool: Pool
    operator: Operator
    api: Api

    def workers(self) -> list[Object]:
        """As the stats tell of them."""
        return list(self.api.get("/api/workflows/queue/stats")["workers"])

    def busy(self, naps: Sequence[float]) -> list[str]:
        """The tasks, once each is run by a worker of its own and no other worker is there."""
        count = len(naps)
        self.pool.patch(minReplicas=count, maxReplicas=count)
        self.left(count)
        ids = [self.api.submit("nap", {"seconds": seconds}) for seconds in naps]

        def all_run() -> bool:
            return [worker["busy_slots"] for worker in self.workers()] == [1] * count

        eventually(all_run, f"{count} workers are busy", SOON_SECONDS)
        self.free()
        return ids

    def free(self) -> None:
        """The size is only what the queue asks for."""
        self.pool.patch(minReplicas=0, maxReplicas=MOST)

    def drain_to(self, size: int, draining: int) -> None:
        """Bound the size, and wait until so many workers are marked."""
        self.pool.patch(minReplicas=size, maxReplicas=size)
        eventually(lambda: len(self.marked()) == draining, f"{draining} drain", SOON_SECONDS)

    def marked(self) -> set[str]:
        """The pods whose workers are marked."""
        return {str(worker["pod"]) for worker in self.workers() if worker["draining"]}

    def acknowledged(self) -> set[str]:
        """The pods whose workers have acknowledged."""
        return {str(worker["pod"]) for worker in self.workers() if worker["drained"]}

    def ended(self, ids: Sequence[str], seconds: float = 60.0) -> list[Object]:
        """The records of tasks that have ended."""
        return [self.api.ended(id, seconds) for id in ids]

    def left(self, count: int) -> None:
        """Wait until so many workers are left, and none of them is marked."""

        def only_they() -> bool:
            return len(self.workers()) == len(self.pool.pods()) == count and not self.marked()

        eventually(only_they, f"{count} workers are left and none is marked", SOON_SECONDS)

    def kill_operator(self) -> None:
        """By SIGKILL. It is started again where it was."""
        before = self.operator.restarts()
        self.operator.signal("KILL", self.operator.leader())
        eventually(lambda: self.operator.restarts() > before, "it is started again", SOON_SECONDS)


@pytest.fixture(scope="module")
def release(cluster: Cluster, images: Images) -> Iterator[Release]:
    """One task a worker."""
    with cluster.namespace("drain") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        own = {"workerDefaults": {"concurrency": 1, "gracePeriodSeconds": GRACE_SECONDS}}
        release.install(merged(small(images), types_values(), own, autoscaling(**QUICK)))
        yield release


@pytest.fixture
def drained(release: Release) -> Iterator[Drained]:
    """With a fresh operator, whose container may be killed without being held back."""
    pool, operator = Pool(release), Operator(release)
    operator.scale(1)
    release.kubectl("delete", "pod", *(pod["metadata"]["name"] for pod in operator.pods()))
    operator.await_leader()
    with release.api() as api:
        yield Drained(pool, operator, api)


def test_killed_after_the_marks_and_before_they_are_acknowledged(drained: Drained) -> None:
    ids = drained.busy([16, 16, 16])
    drained.drain_to(1, draining=2)
    drained.kill_operator()
    drained.operator.await_leader()
    assert (len(drained.marked()), drained.acknowledged(), drained.pool.size()) == (2, set(), 3)
    assert interrupted(drained.ended(ids)) == []
    drained.left(1)


def test_killed_after_the_acknowledgement_and_before_the_smaller_size(drained: Drained) -> None:
    ids = drained.busy([6, 6, 16])
    drained.drain_to(1, draining=2)
    # The workers acknowledge to nobody.
    drained.operator.signal("STOP", drained.operator.leader())
    eventually(lambda: len(drained.acknowledged()) == 2, "two have acknowledged", SOON_SECONDS)
    assert drained.pool.size() == 3
    drained.kill_operator()
    drained.pool.await_size(1, SOON_SECONDS)
    drained.left(1)
    assert interrupted(drained.ended(ids)) == []


def test_killed_right_after_the_smaller_size_is_written(drained: Drained) -> None:
    ids = drained.busy([4, 4, 16])
    drained.drain_to(1, draining=2)
    with drained.pool.sizes() as sizes:
        eventually(lambda: sizes.first(lambda size: size < 3), "it is written", SOON_SECONDS)
        drained.kill_operator()
    drained.pool.await_size(1, SOON_SECONDS)
    drained.left(1)
    assert interrupted(drained.ended(ids)) == []


def test_killed_while_demand_returns(drained: Drained) -> None:
    ids = drained.busy([16, 16, 16])
    pods = uids(drained.pool.pods())
    drained.drain_to(1, draining=2)
    drained.kill_operator()
    with drained.pool.sizes() as sizes, drained.pool.ends() as ends:
        drained.free()
        eventually(lambda: drained.marked() == set(), "all claim again", SOON_SECONDS)
        assert {worker["busy_slots"] for worker in drained.workers()} == {1}
        assert ([size.replicas for size in sizes.all()], ends.all()) == ([3], {})
        assert uids(drained.pool.pods()) == pods
    assert interrupted(drained.ended(ids)) == []


def test_draining_workers_claim_again_before_new_pods_are_asked_for(drained: Drained) -> None:
    ids = drained.busy([8, 8, 8])
    with drained.pool.sizes() as sizes:
        drained.drain_to(1, draining=2)
        more = [drained.api.submit("nap", {"seconds": 4}) for _ in range(3)]
        drained.pool.patch(maxReplicas=3)
        eventually(lambda: drained.marked() == set(), "all claim again", SOON_SECONDS)
        records = drained.ended([*ids, *more])
        assert {record["worker"] for record in records[3:]} <= {
            record["worker"] for record in records[:3]
        }
        assert interrupted(records) == []
        assert sizes.all()[0].replicas == max(size.replicas for size in sizes.all()) == 3


def test_the_pod_of_a_draining_worker_dies(drained: Drained) -> None:
    ids = drained.busy([8, 8, 8])
    drained.drain_to(1, draining=2)
    victim = min(drained.marked())
    [lost] = [worker for worker in drained.workers() if worker["pod"] == victim]
    [task] = [running["task_id"] for running in lost["running"]]
    drained.pool.release.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
    others = [id for id in ids if id != task]
    assert interrupted(drained.ended(others)) == []
    # Its own task is done by another worker, from its beginning.
    [again] = drained.ended([task], LEASE_SECONDS + 8 + SOON_SECONDS)
    assert again["status"] == "completed"
    assert again["result"]["begun"] > 1
    drained.left(1)


def test_a_long_task_keeps_its_own_worker_and_no_other(drained: Drained) -> None:
    ids = drained.busy([30.0, *[2.0] * (MOST - 1)])
    longest = drained.api.task(ids[0])["worker"]
    with drained.pool.sizes() as sizes:
        more = [drained.api.submit("nap", {"seconds": 2}) for _ in range(MOST)]
        drained.pool.await_size(1, SOON_SECONDS)
        drained.left(1)
        assert [worker["id"] for worker in drained.workers()] == [longest]
        assert drained.api.task(ids[0])["status"] == "running"
        assert interrupted(drained.ended([*ids, *more])) == []
        drained.pool.await_size(0, SOON_SECONDS)
    found = [size.replicas for size in sizes.all()]
    assert found == sorted(found, reverse=True)


def test_a_trickle_shrinks_the_pool_to_the_one_worker_that_it_needs(drained: Drained) -> None:
    ids = drained.busy([2.0] * MOST)
    end = time.monotonic() + 2 * SOON_SECONDS
    while drained.pool.size() > 1:
        assert time.monotonic() < end, f"still {drained.pool.size()} workers"
        ids.append(drained.api.submit("nap", {"seconds": 1.5}))
        time.sleep(2)
    assert drained.pool.size() == 1
    assert interrupted(drained.ended(ids)) == []

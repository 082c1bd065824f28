"""The emulated peers take as long as the real ones: the table that we are measured against.

A worker starts at once here, and the load changes just after one look, so that only the
scaler's own time counts. Times are the worst of all phases of its loops.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest

from benchmarks.scaling.cluster import Cluster as World
from benchmarks.scaling.loads import Task
from benchmarks.scaling.peers import (
    Clock,
    Dask,
    Hpa,
    Keda,
    Knative,
    keda,
    keda_tuned,
    queued,
)

CHANGE = 600
C = 10


class Ideal:
    """A cluster whose workers start at once and whose load is as the test says."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas
        self.max_replicas = 1000
        self.concurrency = C
        self.running = 0
        self.queued = 0
        self.available = True
        self.mean_seconds: float | None = 60.0

    @property
    def ready(self) -> int:
        return self.replicas

    @property
    def idle(self) -> int:
        return 0 if self.queued else self.replicas

    def scale(self, replicas: int) -> None:
        self.replicas = replicas

    def retire(self, replicas: int) -> None:
        self.replicas = replicas


Peer = Hpa | Keda | Knative | Dask


def seconds_to(peer: Peer, before: int, after: int, per_worker: float = C) -> int:
    """From a change of the load to the size that it asks for, both given in workers."""
    cluster = Ideal(before)
    for now in range(CHANGE + 1000):
        cluster.queued = round((before if now <= CHANGE else after) * per_worker)
        peer.tick(cluster, now)
        if now > CHANGE and cluster.replicas == after:
            return now - CHANGE
    raise AssertionError(f"still at {cluster.replicas}")


def worst(peers: Iterable[Peer], before: int, after: int, per_worker: float = C) -> int:
    return max(seconds_to(peer, before, after, per_worker) for peer in peers)


def kedas() -> Iterator[Keda]:
    for poll, sync in itertools.product(range(0, 30, 5), range(15)):
        yield keda(poll=Clock(30, poll), sync=Clock(15, sync))


def hpas() -> Iterator[Hpa]:
    return (Hpa(queued, clock=Clock(15, sync)) for sync in range(15))


def knatives() -> Iterator[Knative]:
    return (Knative(Clock(2, phase)) for phase in range(2))


@pytest.mark.parametrize(
    ("before", "after", "seconds"), [(0, 10, 75), (0, 100, 120), (5, 100, 75), (20, 0, 330)]
)
def test_keda_with_its_defaults(before: int, after: int, seconds: int) -> None:
    assert worst(kedas(), before, after) == seconds


@pytest.mark.parametrize(
    ("before", "after", "seconds"), [(0, 10, 45), (0, 100, 90), (5, 100, 75), (20, 0, 315)]
)
def test_the_hpa_alone(before: int, after: int, seconds: int) -> None:
    assert worst(hpas(), before, after) == seconds


@pytest.mark.parametrize(
    ("before", "after", "at_least", "at_most"),
    [(0, 10, 2, 2), (0, 100, 2, 2), (5, 100, 2, 8), (20, 0, 90, 91)],
)
def test_knative(before: int, after: int, at_least: int, at_most: int) -> None:
    assert at_least <= worst(knatives(), before, after, per_worker=0.7 * C) <= at_most


@pytest.mark.parametrize(("before", "after"), [(0, 10), (0, 100), (5, 100)])
def test_dask_kubernetes_up(before: int, after: int) -> None:
    # Without workers it does not know their threads: a worker for each task.
    per_worker = C if before else 1
    calm = [Dask(Clock(5, phase)) for phase in range(5)]
    cooling = [Dask(Clock(5, phase), cooldown_until=CHANGE + 15) for phase in range(5)]
    assert worst(calm, before, after, per_worker) == 5
    assert 15 <= worst(cooling, before, after, per_worker) <= 20


@pytest.mark.parametrize(("cooldown", "seconds"), [(15.0, 255), (15.1, 340)])
def test_dask_kubernetes_down_takes_seventeen_steps(cooldown: float, seconds: int) -> None:
    """Whether a cooldown of 15 s ends just before a turn of the timer or just after it."""
    peer = Dask(cooldown_seconds=cooldown, cooldown_until=CHANGE + cooldown)
    assert seconds_to(peer, 100, 0) == seconds


def sizes(peer: Peer, workers: int) -> list[int]:
    """The sizes on the way from none."""
    cluster, passed = Ideal(0), [0]
    cluster.queued = workers * C
    for now in range(300):
        peer.tick(cluster, now)
        passed.append(cluster.replicas)
    return [size for size, _ in itertools.groupby(passed)]


def test_kedas_steps_are_those_seen_on_a_cluster() -> None:
    # A cluster's poll that finds the first task comes before the sync.
    assert sizes(keda(sync=Clock(15, 1)), 20) == [0, 1, 4, 8, 16, 20]
    assert sizes(keda_tuned(sync=Clock(15, 1)), 20) == [0, 1, 5, 10, 20]


def test_keda_takes_the_last_twenty_in_one_step() -> None:
    cluster, peer, passed = Ideal(20), keda(), []
    for now in range(1000):
        cluster.queued = 20 * C if now < 100 else 0
        peer.hpa.recommendations.clear() if now < 100 else None
        peer.tick(cluster, now)
        passed.append(cluster.replicas)
    assert passed[-1] == 0


def test_without_a_metric_all_of_them_hold() -> None:
    for peer in (keda(), keda_tuned(), Hpa(queued), Knative(), Dask()):
        cluster = Ideal(7)
        cluster.queued = 7 * C
        for now in range(200):
            peer.tick(cluster, now)
        held = cluster.replicas
        cluster.available, cluster.queued = False, 0
        for now in range(200, 2000):
            peer.tick(cluster, now)
        assert cluster.replicas == held


def test_a_pod_that_is_not_ready_goes_first_then_the_youngest() -> None:
    class By:
        """Five, then seven of which two start late, then four."""

        def tick(self, cluster: World, now: float) -> None:
            cluster.scale(5 if now < 100 else 7 if now < 102 else 4)

    world = World([Task(1e9, 1)], concurrency=1, max_replicas=10, seed=1)
    world.run(By(), 200)
    started = sorted(range(1, 6), key=lambda number: ready_at(number))
    assert {pod.number for pod in world.pods} == set(started[:4])


def ready_at(number: int) -> float:
    """When the pod of that number is ready: read from a world that only starts them."""

    class All:
        def tick(self, cluster: World, now: float) -> None:
            cluster.scale(5)

    world = World([], concurrency=1, max_replicas=5, seed=1)
    world.run(All(), 1)
    return next(pod.ready_at for pod in world.pods if pod.number == number)

"""Who owns a size: the operator, unless it is paused, only told, or somebody else scales as well.

Most pools here are sized by fake stats, and none of their pods runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, CommandFailed, Images, Object, eventually
from tests.cluster.driving import interrupted, types_configmap, types_values
from tests.cluster.operating import Operator, Pool, autoscaling
from tests.cluster.release import CHART, NAME, Release, merged, small
from tests.cluster.unscheduled_pools import FakeStats, UnscheduledPool, autoscaler, deployment

WINDOW_SECONDS = 4
MANAGER = "headrace-operator"
SOON_SECONDS = 20.0
NewPool = Callable[..., UnscheduledPool]


@pytest.fixture(scope="module")
def release(cluster: Cluster, images: Images) -> Iterator[Release]:
    """Two pools: naps have one of their own."""
    with cluster.namespace("owners") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        queues = {"default": {"queues": ["workflow_execute"]}, "naps": {"queues": ["nap"]}}
        own = {"workers": queues, "workerDefaults": {"concurrency": 1}}
        quick = autoscaling(stabilizationSeconds=2, cooldownSeconds=2)
        release.install(merged(small(images), types_values(), own, quick))
        yield release


@pytest.fixture(scope="module")
def fake_stats(release: Release, images: Images) -> FakeStats:
    """In the namespace of the release."""
    return FakeStats(release.cluster, release.namespace, images.api)


@pytest.fixture
def new_pool(release: Release, fake_stats: FakeStats, images: Images) -> NewPool:
    """Makes a pool that has one worker and a task for it."""

    def make(name: str, **spec: Any) -> UnscheduledPool:
        fake_stats.queued(1, name)
        pool = UnscheduledPool(release, fake_stats, images.api, name, **spec)
        pool.await_condition("Ready", seconds=SOON_SECONDS)
        return pool

    return make


def decided(pool: Pool, wanted: int, reason: str) -> None:
    """Wait for a decision of this size and reason."""

    def look() -> bool:
        decision = pool.status().get("lastDecision", {})
        return (decision.get("wanted"), decision.get("reason")) == (wanted, reason)

    eventually(look, f"{wanted} are wanted, {reason}", SOON_SECONDS)


def wrote(release: Release, name: str) -> bool:
    """Whether the operator has ever written a Deployment's size."""
    fields = release.cluster.kubectl(
        *("-n", release.namespace, "get", "deployment", name, "--show-managed-fields"),
        *("-o", "jsonpath={.metadata.managedFields[*].manager}"),
    )
    return MANAGER in fields.split()


def notes(pool: Pool, *reasons: str) -> list[str]:
    """The reasons of the pool's events, in their order."""
    return [str(event["reason"]) for event in pool.events(*reasons)]


def test_each_pool_is_sized_by_its_own_queues(release: Release) -> None:
    naps, default = Pool(release, "naps"), Pool(release)
    # Whoever has no work leaves.
    naps.await_size(0)
    default.await_size(0)
    with release.api() as api, default.sizes() as sizes:
        ids = [api.submit("nap", {"seconds": 4}) for _ in range(3)]
        naps.await_size(3, SOON_SECONDS)
        records = [api.ended(id) for id in ids]
        assert interrupted(records) == []
        naps.await_size(0, SOON_SECONDS)
        assert [size.replicas for size in sizes.all()] == [0]
        assert api.answer("hello", {"name": "pools"}) == {"greeting": "Hello, pools!"}
        assert [size.replicas for size in sizes.all()][:2] == [0, 1]


def test_a_paused_pool_is_held_until_it_is_resumed(new_pool: NewPool) -> None:
    pool = new_pool("paused")
    pool.queued(3)
    pool.await_size(3, SOON_SECONDS)
    pool.pause()
    pool.queued(5)
    decided(pool, 5, "Paused")
    assert pool.size() == 3
    pool.resume()
    pool.await_size(5, SOON_SECONDS)
    eventually(lambda: notes(pool, "Paused", "Resumed") == ["Paused", "Resumed"], "both events", 10)


def test_a_dry_run_decides_and_writes_nothing(release: Release, new_pool: NewPool) -> None:
    pool = new_pool("dry", dryRun=True)
    pool.queued(4)
    decided(pool, 4, "WorkAtHand")
    assert (pool.desired(), pool.size()) == (4, 1)
    assert not wrote(release, pool.name)
    pool.patch(dryRun=False)
    pool.await_size(4, SOON_SECONDS)
    assert wrote(release, pool.name)


def test_a_size_that_somebody_sets_is_adopted_and_held_for_a_window(new_pool: NewPool) -> None:
    pool = new_pool("scaled", stabilizationSeconds=WINDOW_SECONDS)
    pool.queued(2)
    pool.await_size(2, SOON_SECONDS)
    with pool.sizes() as sizes:
        pool.scale(7)
        decided(pool, 2, "Stabilizing")
        assert pool.desired() == 7
        pool.await_size(2, SOON_SECONDS)
        eventually(lambda: len(sizes.all()) == 3, "the recorder has seen it", 10)
    assert [size.replicas for size in sizes.all()] == [2, 7, 2]
    [_, scaled, shrunk] = sizes.all()
    assert shrunk.at - scaled.at >= WINDOW_SECONDS - 0.5


def test_a_size_below_what_is_needed_is_raised_again(new_pool: NewPool) -> None:
    pool = new_pool("lowered")
    pool.queued(4)
    pool.await_size(4, SOON_SECONDS)
    with pool.sizes() as sizes:
        pool.scale(0)
        eventually(lambda: [size.replicas for size in sizes.all()] == [4, 0, 4], "4 again", 10)


def hpa(name: str, target: str) -> Object:
    """A HorizontalPodAutoscaler, which has nothing to measure by here."""
    by = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": by}],
        },
    }


def test_nothing_is_written_while_a_horizontal_pod_autoscaler_scales_the_pool(
    release: Release, new_pool: NewPool
) -> None:
    pool = new_pool("contested")
    release.cluster.apply(release.namespace, hpa("rival", "contested"))
    found = pool.await_condition("Conflict", seconds=SOON_SECONDS)
    assert "HorizontalPodAutoscaler/rival" in found["message"]
    assert pool.holds("Ready", "False", "Conflict")
    pool.queued(5)
    decided(pool, 5, "Conflict")
    assert pool.size() == 1
    release.kubectl("delete", "hpa", "rival")
    pool.await_size(5, SOON_SECONDS)
    pool.await_condition("Conflict", "False", seconds=SOON_SECONDS)
    assert pool.holds("Ready")
    both = ["Conflict", "ConflictResolved"]
    eventually(lambda: notes(pool, *both) == both, "both events", 10)


def test_of_two_on_one_pool_the_younger_waits(
    release: Release, fake_stats: FakeStats, new_pool: NewPool
) -> None:
    elder = new_pool("elder")
    fake_stats.queued(9, "younger")
    url = fake_stats.url("younger")
    release.cluster.apply(release.namespace, autoscaler("younger", url, "elder"))
    younger = Pool(release, "younger")
    younger.deployment = "younger"
    found = younger.await_condition("Conflict", seconds=SOON_SECONDS)
    assert "WorkerAutoscaler/elder" in found["message"]
    decided(younger, 9, "Conflict")
    elder.queued(2)
    elder.await_size(2, SOON_SECONDS)
    assert not elder.holds("Conflict")
    release.kubectl("delete", "workerautoscaler", "elder")
    elder.await_size(9, SOON_SECONDS)
    younger.await_condition("Conflict", "False", seconds=SOON_SECONDS)


def test_a_target_that_is_not_there_is_told_and_sized_once_it_is(
    release: Release, fake_stats: FakeStats, images: Images
) -> None:
    pool = Pool(release, "later")
    pool.deployment = "later"
    fake_stats.queued(3, "later")
    release.cluster.apply(release.namespace, autoscaler("later", fake_stats.url("later")))
    found = pool.await_condition("Ready", "False", "TargetNotFound", SOON_SECONDS)
    assert "later" in found["message"]
    eventually(lambda: notes(pool, "TargetNotFound") == ["TargetNotFound"], "the event", 10)
    release.cluster.apply(release.namespace, deployment("later", images.api, 1))
    pool.await_size(3, SOON_SECONDS)
    pool.await_condition("Ready", seconds=SOON_SECONDS)
    assert notes(pool, "TargetNotFound") == ["TargetNotFound"]


def test_a_deleted_resource_leaves_the_size_as_it_is(release: Release, new_pool: NewPool) -> None:
    pool, operator = new_pool("left"), Operator(release)
    pool.queued(3)
    pool.await_size(3, SOON_SECONDS)

    def measured() -> bool:
        return operator.metric("headrace_operator_desired_replicas", name="left") is not None

    eventually(measured, "it is measured", 10)
    release.kubectl("delete", "workerautoscaler", "left")
    eventually(lambda: not measured(), "the operator has forgotten it", SOON_SECONDS)
    pool.queued(6)
    # Another pool's change shows that the operator has gone on meanwhile.
    other = new_pool("other")
    other.queued(2)
    other.await_size(2, SOON_SECONDS)
    assert pool.size() == 3


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"minReplicas": 5, "maxReplicas": 3}, "minReplicas is above maxReplicas: lower"),
        ({"fallbackReplicas": 11}, "fallbackReplicas is above maxReplicas: lower"),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(
    release: Release, spec: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CommandFailed, match=sentence):
        release.cluster.apply(release.namespace, autoscaler("wrong", "http://x", **spec))


def test_a_cluster_wide_operator_stands_back_where_another_acts_and_serves_the_rest(
    cluster: Cluster, images: Images, release: Release, new_pool: NewPool
) -> None:
    pool, nowhere = new_pool("elsewhere"), {"nodeSelector": {"headrace-tests": "nowhere"}}
    alone: Object = {
        "controller": {"clusterWide": True},
        "api": nowhere,
        "workerDefaults": {**nowhere, "autoscaling": {"enabled": False}},
        "redis": {"enabled": False},
        "externalRedis": {"url": "redis://redis.invalid:6379/0"},
    }
    with cluster.namespace("wide") as namespace:
        wide, values = Release(cluster, namespace), merged(small(images), alone)
        lease, own = (f"{place}/headrace-operator" for place in (namespace, release.namespace))
        with pytest.raises(CommandFailed, match=f"another operator .Lease: .*{own}"):
            wide.install(values, wait=False)
        # As Argo CD does it, which lets Helm see nothing of the cluster.
        objects = wide.helm("template", NAME, str(CHART), "--no-hooks", values=values)
        wide.kubectl("apply", "-f", "-", text=objects)
        try:
            Operator(wide).await_leader()
            found = pool.await_condition("Conflict", "True", seconds=SOON_SECONDS)
            assert lease in found["message"]
            assert notes(pool, "Conflict") == ["Conflict"]
            assert (pool.status()["operator"]["lease"], pool.holds("Ready")) == (own, True)
            pool.queued(3)
            pool.await_size(3, SOON_SECONDS)
            # Who acts is told to end: the other one takes over at once.
            Operator(release).scale(0)
            pool.queued(4)
            pool.await_size(4, SOON_SECONDS)
            assert pool.status()["operator"]["lease"] == lease
        finally:
            wide.kubectl("delete", "--wait", "-f", "-", text=objects)

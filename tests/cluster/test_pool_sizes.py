"""A worker pool's size belongs to whoever set it last; the chart's value is for new pools.

The pods here fit no node, so that nothing runs: only what the API server keeps is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, CommandFailed, Object
from tests.cluster.release import NAME, Release, merged

NOWHERE = {"nodeSelector": {"headrace-tests": "nowhere"}}
POOL = f"{NAME}-worker-default"
BY_BOTH = pytest.mark.parametrize("apply", ["server", "client"])


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """Of nothing yet."""
    with cluster.namespace("pools") as namespace:
        yield Release(cluster, namespace)


def values(*layers: Object) -> Object:
    """A release of which no pod can start."""
    return merged(
        {
            "api": NOWHERE,
            "workerDefaults": NOWHERE,
            "controller": NOWHERE,
            "redis": {"enabled": False},
            "externalRedis": {"url": "redis://redis.invalid:6379/0"},
            "checks": {"enabled": False},  # nobody is there to be asked
        },
        *layers,
    )


CHANGED: Object = {"logs": {"level": "debug"}}


def pool(replicas: int) -> Object:
    """The default pool's value."""
    return {"workers": {"default": {"replicas": replicas}}}


def install(release: Release, given: Object, apply: str) -> None:
    """By one of helm's two ways to write; upgrades follow it."""
    release.install(given, f"--server-side={str(apply == 'server').lower()}", wait=False)


def size(release: Release, name: str = POOL) -> int:
    """How many pods a Deployment is told to have."""
    return int(release.get("deployment", name)["spec"]["replicas"])


def scale(release: Release, replicas: int, name: str = POOL) -> None:
    """As a person or an autoscaler does."""
    release.kubectl("scale", "deployment", name, "--replicas", str(replicas))


@BY_BOTH
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_new_pool_has_the_values_size_and_keeps_it(
    release: Release, apply: str, replicas: int
) -> None:
    install(release, values(pool(replicas)), apply)
    assert size(release) == replicas
    release.upgrade(values(pool(replicas), CHANGED), wait=False)
    assert size(release) == replicas
    # The value is for a new pool alone.
    for other in (replicas + 4, 1):
        release.upgrade(values(pool(other)), wait=False)
        assert size(release) == replicas


@BY_BOTH
@pytest.mark.parametrize("replicas", [1, 3])
def test_an_upgrade_keeps_the_size_that_somebody_set(
    release: Release, apply: str, replicas: int
) -> None:
    install(release, values(pool(replicas)), apply)
    scale(release, 7)
    release.upgrade(values(pool(replicas), CHANGED), wait=False)
    assert size(release) == 7
    scale(release, 0)
    release.upgrade(values(pool(replicas)), wait=False)
    assert size(release) == 0


@BY_BOTH
def test_a_rollback_keeps_the_size_that_somebody_set(release: Release, apply: str) -> None:
    install(release, values(), apply)
    scale(release, 7)
    release.upgrade(values(CHANGED), wait=False)
    release.upgrade(values(pool(3)), wait=False)
    scale(release, 5)
    release.rollback(2, wait=False)
    release.rollback(1, wait=False)
    assert size(release) == 5


@BY_BOTH
def test_a_pool_can_be_taken_away_and_put_back(release: Release, apply: str) -> None:
    queues = {"default": {"queues": ["workflow_execute"]}}
    two = values({"workers": {**queues, "other": {"queues": ["other"], "replicas": 2}}})
    install(release, two, apply)
    scale(release, 6, f"{NAME}-worker-other")
    release.upgrade(values({"workers": queues}), wait=False)
    with pytest.raises(CommandFailed, match="not found"):
        size(release, f"{NAME}-worker-other")
    release.upgrade(two, wait=False)
    assert size(release, f"{NAME}-worker-other") == 2


def test_the_one_rollback_that_needs_a_word_is_as_documented(release: Release) -> None:
    install(release, values(pool(3)), "server")
    scale(release, 7)
    release.upgrade(values(pool(3), CHANGED), wait=False)
    with pytest.raises(CommandFailed, match=r"conflict.*spec\.replicas"):
        release.rollback(1, wait=False)
    assert size(release) == 7
    release.rollback(1, "--force-conflicts", wait=False)
    assert size(release) == 3


def test_the_apis_size_is_the_values_and_a_scaled_one_stops_the_upgrade(release: Release) -> None:
    api = f"{NAME}-api"
    install(release, values(), "server")
    release.upgrade(values({"api": {"replicas": 3}}), wait=False)
    assert size(release, api) == 3
    scale(release, 5, api)
    with pytest.raises(CommandFailed, match=r"conflict.*spec\.replicas"):
        release.upgrade(values({"api": {"replicas": 3}}, CHANGED), wait=False)
    release.upgrade(values({"api": {"replicas": 3}}, CHANGED), "--force-conflicts", wait=False)
    assert size(release, api) == 3


@BY_BOTH
def test_an_api_that_another_writer_sizes_is_left_alone(release: Release, apply: str) -> None:
    left = {"api": {"replicas": None}}
    install(release, values(left), apply)
    scale(release, 4, f"{NAME}-api")
    release.upgrade(values(left, CHANGED), wait=False)
    assert size(release, f"{NAME}-api") == 4

"""The first chart can be upgraded to this one, and nothing is lost on the way.

It runs the present images. A chart with an operator needs those of its own release, whose operator
reads that chart's Secrets: test_upgrade_from_release_before.py upgrades from such a one, with its
key and its Redis in use all the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.cluster.operating import Operator, autoscaling
from tests.cluster.release import NAME, Release, lasting, merged, ready, small, small_first

FIRST = Path(__file__).with_name("releases") / "headrace-0.1.0.tgz"


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """Of nothing yet."""
    with cluster.namespace("released") as namespace:
        yield Release(cluster, namespace)


def test_an_upgrade_from_the_first_chart_keeps_tasks_keys_and_sizes(
    release: Release, defined: None, images: Images
) -> None:
    release.install(small_first(images), chart=FIRST)
    key, password = release.key, release.secret(f"{NAME}-redis", "password")
    with release.api() as api:
        before = api.ended(api.execute("hello", {"name": "before"})["task_id"])
    release.kubectl("scale", "deployment", f"{NAME}-worker-default", "--replicas", "2")

    # The operator holds the size that it finds for as long as the test takes.
    release.upgrade(merged(small(images), autoscaling(stabilizationSeconds=600)))

    assert Operator(release).await_leader()
    assert release.key == key
    assert release.secret(f"{NAME}-redis", "password") == password
    assert release.get("deployment", f"{NAME}-worker-default")["spec"]["replicas"] == 2
    with release.api() as api:
        assert lasting(api.task(before["task_id"])) == lasting(before)
        assert api.answer("hello", {"name": "after"}) == {"greeting": "Hello, after!"}
    assert all(ready(pod) for pod in release.pods("redis"))

"""What an uninstall leaves, and what the next install finds."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, Images, eventually
from tests.cluster.release import NAME, Release, lasting, merged, small

KINDS = (
    "deployments,statefulsets,pods,services,configmaps,secrets,serviceaccounts,"
    "networkpolicies,poddisruptionbudgets,persistentvolumeclaims,"
    "roles,rolebindings,workerautoscalers"
)


@pytest.fixture
def release(cluster: Cluster, images: Images) -> Iterator[Release]:
    """Installed with the chart's defaults."""
    with cluster.namespace("again") as namespace:
        release = Release(cluster, namespace)
        release.install(small(images))
        yield release


def _left(release: Release) -> list[str]:
    """What is there of the release, as `kind/name`."""
    answer = release.kubectl("get", KINDS, "-o", "json", "-l", f"app.kubernetes.io/instance={NAME}")
    items = json.loads(answer)["items"]
    return [f"{item['kind']}/{item['metadata']['name']}" for item in items]


def test_tasks_outlive_an_uninstall_and_secrets_do_not(release: Release, images: Images) -> None:
    with release.api() as api:
        task = api.ended(api.execute("hello", {"name": "again"})["task_id"])
    key, password = release.key, release.secret(f"{NAME}-redis", "password")
    operators = release.operator_key

    release.uninstall()
    claim = f"PersistentVolumeClaim/data-{NAME}-redis-0"
    eventually(lambda: _left(release) == [claim], "only Redis's volume is left")

    release.install(small(images))
    assert release.key != key
    assert release.secret(f"{NAME}-redis", "password") != password
    assert release.operator_key != operators
    with release.api() as api:
        assert lasting(api.task(task["task_id"])) == lasting(task)
        assert api.answer("hello", {}) == {"greeting": "Hello, world!"}
    with release.api(key) as api:
        assert api.client.get(f"/api/tasks/{task['task_id']}").status_code == 401

    # The other way: nothing is left.
    release.upgrade(merged(small(images), {"redis": {"persistence": {"whenDeleted": "Delete"}}}))
    release.uninstall()
    eventually(lambda: _left(release) == [], "nothing is left")

"""An uninstall leaves nothing behind that waits for an operator, also when that is dead."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.operating import Operator, Pool
from tests.cluster.release import NAME, Release, merged, small

KINDS = (
    "workerautoscalers,deployments,replicasets,statefulsets,pods,services,configmaps,secrets,"
    "serviceaccounts,roles,rolebindings,leases,networkpolicies,poddisruptionbudgets,"
    "persistentvolumeclaims,events.events.k8s.io"
)
OURS = ("headrace", "kopf")


@pytest.fixture
def release(cluster: Cluster, images: Images) -> Iterator[Release]:
    """As it comes."""
    with cluster.namespace("uninstall") as namespace:
        release = Release(cluster, namespace)
        release.install(
            merged(small(images), {"redis": {"persistence": {"whenDeleted": "Delete"}}})
        )
        yield release


def _objects(release: Release) -> list[Object]:
    answer = json.loads(release.kubectl("get", KINDS, "-o", "json"))
    return list(answer["items"])


def _finalized(release: Release) -> list[str]:
    """The objects that wait for something of ours when they are deleted."""
    return [
        f"{resource['kind']}/{resource['metadata']['name']}: {finalizer}"
        for resource in _objects(release)
        for finalizer in resource["metadata"].get("finalizers", [])
        if any(word in finalizer for word in OURS)
    ]


def _of_the_release(release: Release) -> list[str]:
    labels = [resource["metadata"].get("labels", {}) for resource in _objects(release)]
    return [label["app.kubernetes.io/component"] for label in labels if label.get(LABEL) == NAME]


LABEL = "app.kubernetes.io/instance"


def test_nothing_waits_for_an_operator_that_is_dead(release: Release) -> None:
    pool, operator = Pool(release), Operator(release)
    pool.await_condition("Ready")
    # It has scaled, and told so.
    pool.patch(minReplicas=2)
    pool.await_size(2)
    assert _finalized(release) == []
    assert "finalizers" not in pool.autoscaler()["metadata"]

    operator.shoot()
    operator.scale(0)
    assert _finalized(release) == []
    release.uninstall()
    eventually(lambda: _of_the_release(release) == [], "nothing is left of the release")
    leaving = [
        resource for resource in _objects(release) if "deletionTimestamp" in resource["metadata"]
    ]
    assert [resource["metadata"]["name"] for resource in leaving] == []

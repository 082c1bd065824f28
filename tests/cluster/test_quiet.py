"""A release that nobody asks anything stays as it is."""

from __future__ import annotations

import re
import time

from tests.cluster.cluster import Cluster, Images, Object
from tests.cluster.operating import Pool
from tests.cluster.release import Release, ready, restarts, small, uids

QUIET_SECONDS = 75.0
"""Long enough for every probe that kills to have failed as often as it may."""
LOOK_SECONDS = 3.0
KUBELET_WAS_LATE = re.compile(r"failed to sync (secret|configmap) cache: timed out")
"""The kubelet gives its own cache a second, and mounts the volume at the next attempt. On a slow
node it says so of any pod, whatever is installed."""


def test_no_pod_restarts_in_a_quiet_cluster(shared: Release) -> None:
    before = shared.pods()
    end = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        now = shared.pods()
        assert uids(now) == uids(before)
        # An operator that once lost its Lease, with the API server, was started again then.
        assert restarts(now) == restarts(before)
        assert all(ready(pod) for pod in now), _not_ready(now)


def test_a_fresh_install_warns_of_nothing(cluster: Cluster, images: Images) -> None:
    with cluster.namespace("fresh") as namespace:
        release = Release(cluster, namespace)
        release.install(small(images))
        Pool(release).await_condition("Ready")
        warnings = cluster.list(namespace, "events", "--field-selector", "type=Warning")
        assert [
            (warning["reason"], warning["message"])
            for warning in warnings
            if not KUBELET_WAS_LATE.search(warning["message"])
        ] == []


def _not_ready(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods if not ready(pod)]

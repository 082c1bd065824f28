"""Deployments none of whose pods ever runs, sized by a fake_stats_server.py in a pod.

The pods fit no node: they hold no task, so that nothing but the decision is in the way of a size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster, Object, eventually
from tests.cluster.driving import RESTRICTED, configmap, pod
from tests.cluster.operating import Pool
from tests.cluster.release import Release, ready

NAME = "fake-stats"
PROGRAM = Path(__file__).parent / "fake_stats_server.py"
PORT = 8000
CHANGE = f"""
import sys, urllib.request as u
u.urlopen(u.Request("http://127.0.0.1:{PORT}/", sys.argv[1].encode(), method="PUT"), timeout=20)
"""


class FakeStats:
    """Stats endpoints in a pod of its own, each with a name."""

    def __init__(self, cluster: Cluster, namespace: str, image: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        container = {
            "name": NAME,
            "image": image,
            "command": ["python3", f"/{NAME}/{PROGRAM.name}", str(PORT)],
            "securityContext": RESTRICTED,
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "volumeMounts": [{"name": NAME, "mountPath": f"/{NAME}"}],
        }
        volume = {"name": NAME, "configMap": {"name": NAME}}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
        }
        cluster.apply(
            namespace,
            configmap(NAME, {PROGRAM.name: PROGRAM.read_text()}),
            service,
            pod(NAME, {"containers": [container], "volumes": [volume]}, app=NAME),
        )
        eventually(lambda: ready(cluster.get(namespace, "pod", NAME)), "the fake stats server runs")

    def url(self, name: str) -> str:
        """The base URL of the endpoint of this name."""
        return f"http://{NAME}.{self._namespace}:{PORT}/{name}"

    def change(self, **changes: Object) -> None:
        """Other modes and queues, by the endpoint's name."""
        self._cluster.python(self._namespace, NAME, CHANGE, json.dumps(changes))

    def queued(self, count: int, *names: str, queue: str = "nap") -> None:
        """So many tasks wait, says each of these endpoints."""
        self.change(**{name: {"mode": "well", "queued": {queue: count}} for name in names})


class UnscheduledPool(Pool):
    """A Deployment whose pods fit no node, and the WorkerAutoscaler of its name.

    They are made: `spec` is the WorkerAutoscaler's, one task a worker and quick to shrink unless
    it says otherwise. `release` is the one whose operator sizes it.
    """

    def __init__(
        self,
        release: Release,
        fake_stats: FakeStats,
        image: str,
        name: str,
        size: int = 1,
        **spec: Any,
    ) -> None:
        super().__init__(release, name)
        self.deployment = name
        self._fake_stats = fake_stats
        release.cluster.apply(
            release.namespace,
            deployment(name, image, size),
            autoscaler(name, fake_stats.url(name), **spec),
        )

    def queued(self, count: int) -> None:
        """So many tasks wait, say the stats."""
        self._fake_stats.queued(count, self.name)


def deployment(name: str, image: str, replicas: int) -> Object:
    """A Deployment whose pods fit no node."""
    labels = {"app": name}
    container = {"name": "worker", "image": image, "securityContext": RESTRICTED}
    spec = {"nodeSelector": {"headrace-tests": "nowhere"}, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def autoscaler(name: str, url: str, target: str = "", **spec: Any) -> Object:
    """A WorkerAutoscaler; of the Deployment of its name, unless a target is given."""
    quick = {"concurrency": 1, "stabilizationSeconds": 2, "cooldownSeconds": 2}
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "WorkerAutoscaler",
        "metadata": {"name": name},
        "spec": {"targetRef": {"name": target or name}, "api": {"url": url}, **quick, **spec},
    }

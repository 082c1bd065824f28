"""Who reaches what: those who must, do, and a stranger's pod reaches neither Redis nor metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.cluster import Cluster, Images, eventually
from tests.cluster.conftest import MONITORING
from tests.cluster.driving import RESTRICTED, pod
from tests.cluster.release import NAME, Release, ready
from tests.servers import absent

TRIES = 2
ENFORCED_SECONDS = 15.0
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()
    print("reached")
except TimeoutError:
    print("dropped")
except OSError as error:
    print(error)
"""
SERVE = (
    "import http.server as h; h.HTTPServer(('', 8000), h.BaseHTTPRequestHandler).serve_forever()"
)


@dataclass(frozen=True)
class Pod:
    """A pod from which somebody tries."""

    cluster: Cluster
    namespace: str
    name: str

    def tries(self, host: str, port: int) -> str:
        """`reached`, `dropped`, or what else became of a connection."""
        return self.cluster.python(self.namespace, self.name, CONNECT, host, str(port)).strip()

    def reaches(self, host: str, port: int) -> None:
        """It gets there. A new pod's first packets may be dropped."""
        eventually(lambda: self.tries(host, port) == "reached", f"{self.name} reaches {host}", 30)

    def is_kept_from(self, host: str, port: int) -> None:
        """It does not, however often it tries. A new pod's policy may need a moment."""
        eventually(lambda: self.tries(host, port) == "dropped", f"{self.name} is kept out", 10)
        answers = {self.tries(host, port) for _ in range(TRIES)}
        assert answers == {"dropped"}, f"{self.name} to {host}:{port}"


@pytest.fixture(scope="module")
def stranger(shared: Release, images: Images) -> Pod:
    """A pod beside the release's, in its namespace."""
    return _started(shared.cluster, shared.namespace, images, "stranger")


@pytest.fixture(scope="module")
def outsider(shared: Release, images: Images) -> Iterator[Pod]:
    """A pod of another namespace, which has labels as the release's workers have them."""
    with shared.cluster.namespace("outside") as namespace:
        labels = {
            "app.kubernetes.io/name": "headrace",
            "app.kubernetes.io/instance": NAME,
            "app.kubernetes.io/component": "worker",
        }
        yield _started(shared.cluster, namespace, images, "outsider", **labels)


@pytest.fixture(scope="module")
def prometheus(shared: Release, images: Images) -> Iterator[Pod]:
    """A pod of a namespace that `metrics.from` names."""
    with shared.cluster.namespace("monitoring", **MONITORING) as namespace:
        yield _started(shared.cluster, namespace, images, "prometheus")


@pytest.fixture(scope="module", autouse=True)
def enforced(cluster: Cluster, images: Images) -> None:
    """Skips where the cluster's network ignores policies, whoever made them."""
    with cluster.namespace("canary") as namespace:
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "nobody"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        }
        cluster.apply(namespace, policy)
        asks = _started(cluster, namespace, images, "asks")
        _started(cluster, namespace, images, "serves", program=SERVE)
        address = cluster.get(namespace, "pod", "serves")["status"]["podIP"]
        end = time.monotonic() + ENFORCED_SECONDS
        while asks.tries(address, 8000) != "dropped":
            if time.monotonic() > end:
                absent("the network of this cluster does not enforce NetworkPolicies")


def test_everybody_reaches_the_api(
    shared: Release, stranger: Pod, outsider: Pod, prometheus: Pod
) -> None:
    for caller in (stranger, outsider, prometheus):
        caller.reaches(f"{NAME}-api.{shared.namespace}", 8000)


@pytest.mark.parametrize("component", ["api", "worker"])
def test_the_releases_own_pods_reach_redis(shared: Release, component: str) -> None:
    Pod(shared.cluster, shared.namespace, shared.pod(component)).reaches(f"{NAME}-redis", 6379)


def test_no_stranger_reaches_redis(shared: Release, stranger: Pod, outsider: Pod) -> None:
    [redis] = shared.pods("redis")
    for caller in (stranger, outsider):
        caller.is_kept_from(f"{NAME}-redis.{shared.namespace}", 6379)
        caller.is_kept_from(redis["status"]["podIP"], 6379)


def test_only_those_who_are_named_reach_the_metrics(
    shared: Release, stranger: Pod, outsider: Pod, prometheus: Pod
) -> None:
    host = f"{NAME}-api-metrics.{shared.namespace}"
    prometheus.reaches(host, 9090)
    for caller in (stranger, outsider):
        caller.is_kept_from(host, 9090)
    metrics = _read(prometheus, f"http://{host}:9090/metrics")
    assert 'headrace_queue_length{queue="workflow_execute"} 0' in metrics


def test_only_those_who_are_named_reach_the_operators_metrics(
    shared: Release, stranger: Pod, outsider: Pod, prometheus: Pod
) -> None:
    host = f"{NAME}-controller-metrics.{shared.namespace}"
    prometheus.reaches(host, 9090)
    [operator] = shared.pods("controller")
    for caller in (stranger, outsider):
        caller.is_kept_from(host, 9090)
        caller.is_kept_from(operator["status"]["podIP"], 8080)
    metrics = _read(prometheus, f"http://{host}:9090/metrics")
    assert "headrace_operator_leader 1.0" in metrics


def test_nobody_reaches_a_worker_or_what_else_redis_has_a_policy_for(
    shared: Release, stranger: Pod, prometheus: Pod
) -> None:
    [worker] = shared.pods("worker")
    for caller in (stranger, prometheus):
        caller.is_kept_from(worker["status"]["podIP"], 8080)
    [redis] = shared.pods("redis")
    prometheus.is_kept_from(redis["status"]["podIP"], 6379)


def _read(caller: Pod, url: str) -> str:
    program = (
        "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"
    )
    return caller.cluster.python(caller.namespace, caller.name, program, url)


def _started(
    cluster: Cluster,
    namespace: str,
    images: Images,
    name: str,
    program: str = "import time; time.sleep(3600)",
    **labels: str,
) -> Pod:
    """A pod that stays until its namespace goes."""
    container = {
        "name": "python",
        "image": images.api,
        "command": ["python3", "-c", program],
        "securityContext": RESTRICTED,
    }
    cluster.apply(namespace, pod(name, {"containers": [container]}, **labels))
    eventually(lambda: ready(cluster.get(namespace, "pod", name)), f"the pod {name} runs")
    return Pod(cluster, namespace, name)

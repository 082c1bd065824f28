"""The cluster, Headrace's images in it, and releases that several tests share.

A test that cannot run is skipped with a sentence; with HEADRACE_NO_SKIP=1, as in CI, it fails.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.cluster import Absent, Cluster, Images
from tests.cluster.driving import types_configmap, types_values
from tests.cluster.operating import define
from tests.cluster.release import Release, fixed, merged, small
from tests.servers import absent

HERE = Path(__file__).parent
FIRST = "test_upgrade_from_first_release.py"
MONITORING = {"headrace-tests": "monitoring"}
"""The label of the namespaces that may read the shared release's metrics."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here need a cluster, and time: images are built within the first one's."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))
    # Before anything else installs the resource's definition.
    items.sort(key=lambda item: item.path.name != FIRST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells what the namespaces look like that the test used."""
    report = yield
    cluster = item.session.stash.get(_CLUSTER, None)
    if report.failed and cluster is not None:
        for namespace in cluster.namespaces:
            report.sections.append(("cluster", cluster.describe(namespace)))
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """What the loads counted is told whether or not all is well."""
    counted = config.stash.get(_COUNTED, [])
    if counted:
        terminalreporter.section("counted under load")
    for line in counted:
        terminalreporter.line(line)


_CLUSTER = pytest.StashKey[Cluster]()
_COUNTED = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def counted(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the end of the run."""
    return pytestconfig.stash.setdefault(_COUNTED, [])


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The cluster under test."""
    try:
        found = Cluster.find()
    except Absent as error:
        absent(str(error))
    request.session.stash[_CLUSTER] = found
    return found


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Images:
    """Headrace's images, built from this checkout, in the cluster."""
    try:
        return cluster.images()
    except Absent as error:
        absent(str(error))


@pytest.fixture(scope="session")
def other_tag(cluster: Cluster, images: Images) -> str:
    """The same images once more, by another tag."""
    return cluster.other_tag(images)


@pytest.fixture(scope="session")
def defined(cluster: Cluster) -> None:
    """The API server knows the WorkerAutoscaler, also where Helm has not installed it."""
    define(cluster)


@pytest.fixture(scope="session")
def shared(cluster: Cluster, images: Images) -> Iterator[Release]:
    """A release as it comes, installed from nothing, but for its size: the operator keeps it at
    one worker. Tests look at it and leave it as it is.
    """
    with cluster.namespace("shared") as namespace:
        release = Release(cluster, namespace)
        readers = {"metrics": {"from": [{"namespaceSelector": {"matchLabels": MONITORING}}]}}
        release.install(merged(small(images), fixed(1), readers))
        yield release


@pytest.fixture(scope="session")
def busy(cluster: Cluster, images: Images) -> Iterator[Release]:
    """A release whose workers know the task type `nap`, two of each kind, which the operator keeps
    at that. Its pods may be killed: a test leaves it working.
    """
    with cluster.namespace("busy") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        size = {"api": {"replicas": 2}, "workerDefaults": {"concurrency": 20}}
        release.install(merged(small(images), types_values(), fixed(2), size))
        yield release


@dataclass(frozen=True)
class Ingress:
    """Where an ingress controller listens."""

    http: str
    https: str
    class_name: str
    gateway: str
    """Namespace and name of its Gateway; empty: it has none."""


_TOOL_INGRESS = Ingress(
    "http://10.199.0.2:8080", "https://10.199.0.2:8443", "contour", "ingress/gateway"
)


@pytest.fixture(scope="session")
def ingress(cluster: Cluster) -> Ingress:
    """The cluster's ingress controller. The tool's is started."""
    if cluster.tool:
        cluster.use_tool("ingress", seconds=1200)
        return _TOOL_INGRESS
    names = ("INGRESS_HTTP", "INGRESS_HTTPS", "INGRESS_CLASS")
    http, https, class_name = (os.environ.get(name, "") for name in names)
    if not (http and https and class_name):
        absent(
            "the ingress controller is not known: set INGRESS_HTTP and INGRESS_HTTPS to its URLs, "
            "INGRESS_CLASS to its class, and INGRESS_GATEWAY to the namespace/name of its Gateway"
        )
    return Ingress(http, https, class_name, os.environ.get("INGRESS_GATEWAY", ""))

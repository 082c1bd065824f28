"""From the first release, which had no operator, to this chart, while everything is in use.

The resource's definition is not there then, and Helm's upgrade does not install it: the upgrade
says by which command to do it. conftest.py has this file run first, before an install brings it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, CommandFailed, Images, Object, eventually
from tests.cluster.driving import types_configmap, types_values
from tests.cluster.operating import DEFINITION, Operator, Pool, autoscaling, define
from tests.cluster.release import NAME, Release, merged, restarts, small, small_first, uids
from tests.cluster.upgrading import Outcome, in_use, replaced
from tests.servers import absent

FIRST = Path(__file__).with_name("releases") / "headrace-0.1.0.tgz"
WORKERS = 3
BIG = {
    "api": {"replicas": 2, "shutdownDelaySeconds": 10},
    "workerDefaults": {"replicas": WORKERS, "concurrency": 20, "gracePeriodSeconds": 60},
}
HELD = autoscaling(stabilizationSeconds=600)
"""The operator may ask for more workers, and holds the size that it finds for all of the test."""


@dataclass
class Story:
    """What the tests below look at."""

    release: Release
    refusal: str
    untouched: bool
    """Whether all was as before after the refusal."""
    outcome: Outcome


@pytest.fixture(scope="module")
def undefined(cluster: Cluster) -> Iterator[None]:
    """The API server does not know the WorkerAutoscaler; afterwards it does."""
    if cluster.list("default", "crd", f"--field-selector=metadata.name={DEFINITION}"):
        used = cluster.kubectl("get", "workerautoscalers", "-A", "-o", "name").split()
        if used:
            absent(f"{len(used)} WorkerAutoscalers are in use: their definition cannot be removed")
        cluster.kubectl("delete", "crd", DEFINITION)
    yield
    define(cluster)


@pytest.fixture(scope="module")
def story(
    cluster: Cluster, undefined: None, images: Images, other_tag: str, counted: list[str]
) -> Iterator[Story]:
    """The whole of it, once."""
    with cluster.namespace("first") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        release.install(merged(small_first(images), types_values(), BIG), chart=FIRST)
        with in_use(release, images.api, counted, "upgrade from the first release") as outcome:
            values = merged(small(images), types_values(), BIG, HELD, {"image": {"tag": other_tag}})
            before = _state(release)
            with pytest.raises(CommandFailed) as refused:
                release.upgrade(values)
            story = Story(release, refused.value.said, _state(release) == before, outcome)
            _run(cluster, story.refusal)
            with replaced(release):
                release.upgrade(values)
            Operator(release).await_leader()
            Pool(release).await_condition("Ready")
        yield story


def test_without_the_definition_it_is_refused_and_nothing_changes(story: Story) -> None:
    assert "kubectl apply --server-side" in story.refusal
    assert story.untouched


def test_no_request_fails(story: Story) -> None:
    story.outcome.check_requests()


def test_no_acknowledged_task_is_lost_or_interrupted(story: Story) -> None:
    story.outcome.check_tasks(naps=20)


def test_the_number_of_workers_is_unchanged(story: Story) -> None:
    assert story.outcome.sizes == [WORKERS]
    assert Pool(story.release).status()["replicas"] == WORKERS


def test_the_operator_is_there_and_nothing_has_been_started_again(story: Story) -> None:
    assert len(story.release.pods("controller")) == 1
    assert set(restarts(story.outcome.pods).values()) == {0}


def _state(release: Release) -> Object:
    """What an upgrade would change."""
    deployments = release.cluster.list(release.namespace, "deployments")
    return {
        "generations": {
            deployment["metadata"]["name"]: deployment["metadata"]["generation"]
            for deployment in deployments
        },
        "pods": uids(release.pods()),
        "keys": release.get("secret", f"{NAME}-api-keys")["data"],
    }


def _run(cluster: Cluster, refusal: str) -> None:
    """The command that the refusal names, as it stands there."""
    found = re.search(r"kubectl (apply [^\n`'\"]*charts/headrace/crds/)", refusal)
    assert found, refusal
    cluster.kubectl(*shlex.split(found[1]))
    eventually(
        lambda: "workerautoscalers" in cluster.kubectl("api-resources", "-o", "name"),
        "the API server knows the resource",
    )

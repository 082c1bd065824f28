"""From the first release, which had no operator, to this chart, while everything is in use.

The resource's definition is not there then, and Helm's upgrade does not install it: the upgrade
says by which command to do it. conftest.py has this file run first, before an install brings it.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, CommandFailed, Images, Object, eventually
from tests.cluster.driving import (
    PodLoad,
    Report,
    all_ended,
    interrupted,
    types_configmap,
    types_values,
)
from tests.cluster.operating import DEFINITION, Operator, Pool, autoscaling, define
from tests.cluster.release import NAME, Release, merged, restarts, small, small_first, uids
from tests.servers import absent

FIRST = Path(__file__).with_name("releases") / "headrace-0.1.0.tgz"
WORKERS = 3
QUIET_SECONDS = 5.0
LOAD = ("--rate", "30", "--mix", "nap=2,hello=3,read=22,stats=3", "--nap-seconds", "1", "20")
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
    refusal: str = ""
    untouched: bool = False
    """Whether all was as before after the refusal."""
    report: Report = field(default_factory=Report)
    records: list[Object] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)


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
        story = Story(release)
        pool = Pool(release)
        load = PodLoad(cluster, namespace, images.api, *LOAD)
        with pool.sizes() as sizes:
            time.sleep(QUIET_SECONDS)
            values = merged(small(images), types_values(), BIG, HELD, {"image": {"tag": other_tag}})
            before = _state(release)
            with pytest.raises(CommandFailed) as refused:
                release.upgrade(values)
            story.refusal, story.untouched = refused.value.said, _state(release) == before
            _run(cluster, story.refusal)
            old = uids(release.pods("api") + release.pods("worker"))
            release.upgrade(values)
            release.gone(old)
            Operator(release).await_leader()
            pool.await_condition("Ready")
            time.sleep(QUIET_SECONDS)
            story.report = load.stop()
            story.pods = release.pods()
            with release.api() as api:
                story.records = all_ended(api, list(story.report.acknowledged))
            story.sizes = [size.replicas for size in sizes.all()]
        broken = len(interrupted(story.records))
        counted += [
            f"upgrade from the first release: {story.report}",
            f"  {len(story.records)} have ended, {broken} interrupted; sizes {story.sizes}",
        ]
        yield story


def test_without_the_definition_it_is_refused_and_nothing_changes(story: Story) -> None:
    assert "kubectl apply --server-side" in story.refusal
    assert story.untouched


def test_no_request_fails(story: Story) -> None:
    report = story.report
    assert report.count(200, 202) == report.requests, (report.answers, report.failures)


def test_no_acknowledged_task_is_lost_or_interrupted(story: Story) -> None:
    assert sorted(record["task_id"] for record in story.records) == sorted(
        story.report.acknowledged
    )
    assert sum(record["type"] == "nap" for record in story.records) > 20
    assert interrupted(story.records) == []


def test_the_number_of_workers_is_unchanged(story: Story) -> None:
    assert story.sizes == [WORKERS]
    assert Pool(story.release).status()["replicas"] == WORKERS


def test_the_operator_is_there_and_nothing_has_been_started_again(story: Story) -> None:
    assert len(story.release.pods("controller")) == 1
    assert set(restarts(story.pods).values()) == {0}


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

"""From the release before, its own images and chart, to this one and back, while all is in use.

Its images are built from its commit, so this clone must have the history.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.cluster import Absent, Cluster, Images, Object
from tests.cluster.driving import (
    PodLoad,
    Report,
    all_ended,
    interrupted,
    types_configmap,
    types_values,
)
from tests.cluster.operating import Operator, Pool
from tests.cluster.release import Release, fixed, merged, restarts, small, uids
from tests.servers import absent

VERSION = "0.2.0"
COMMIT = "ae23187ef8df72e36129609eedac622655549490"
CHART = Path(__file__).with_name("releases") / f"headrace-{VERSION}.tgz"
WORKERS = 2
QUIET_SECONDS = 5.0
LOAD = ("--rate", "30", "--mix", "nap=2,hello=3,read=22,stats=3", "--nap-seconds", "1", "20")
SIZE = {
    "api": {"replicas": 2, "shutdownDelaySeconds": 10},
    "workerDefaults": {"concurrency": 30, "gracePeriodSeconds": 60},
}


@dataclass
class Story:
    """What the tests below look at."""

    release: Release
    images: list[set[str]] = field(default_factory=list)
    """Of API, workers and operator: before, after the upgrade, and back."""
    redis: list[set[str]] = field(default_factory=list)
    """Redis's pods, likewise."""
    report: Report = field(default_factory=Report)
    records: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Take note of what runs now."""
        deployments = self.release.cluster.list(self.release.namespace, "deployments")
        specs = [story["spec"]["template"]["spec"] for story in deployments]
        self.images.append({story["containers"][0]["image"] for story in specs})
        self.redis.append(uids(self.release.pods("redis")))


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> Images:
    """The images of the release before."""
    try:
        return cluster.release_images(COMMIT, VERSION)
    except Absent as error:
        absent(str(error))


@pytest.fixture(scope="module")
def story(
    cluster: Cluster, before: Images, images: Images, defined: None, counted: list[str]
) -> Iterator[Story]:
    """The whole of it, once."""
    with cluster.namespace("before") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        common = merged(types_values(), fixed(WORKERS), SIZE)
        release.install(merged(small(before), common), chart=CHART)
        story = Story(release)
        story.look()
        load = PodLoad(cluster, namespace, images.api, *LOAD)
        with Pool(release).sizes() as sizes:
            time.sleep(QUIET_SECONDS)
            old = uids(release.pods("api") + release.pods("worker"))
            release.upgrade(merged(small(images), common))
            release.gone(old)
            story.look()
            time.sleep(QUIET_SECONDS)
            old = uids(release.pods("api") + release.pods("worker"))
            release.rollback(1)
            release.gone(old)
            story.look()
            time.sleep(QUIET_SECONDS)
            story.report = load.stop()
            story.pods = release.pods()
            with release.api() as api:
                story.records = all_ended(api, list(story.report.acknowledged))
            story.sizes = [size.replicas for size in sizes.all()]
        broken = len(interrupted(story.records))
        counted += [
            f"upgrade from {VERSION} and rollback: {story.report}",
            f"  {len(story.records)} have ended, {broken} interrupted; sizes {story.sizes}",
        ]
        yield story


def test_no_request_fails(story: Story) -> None:
    report = story.report
    assert report.count(200, 202) == report.requests, (report.answers, report.failures)


def test_no_acknowledged_task_is_lost_or_interrupted(story: Story) -> None:
    assert sorted(record["task_id"] for record in story.records) == sorted(
        story.report.acknowledged
    )
    assert sum(record["type"] == "nap" for record in story.records) > 50
    assert interrupted(story.records)[:5] == []


def test_the_images_are_those_of_each_release(story: Story, before: Images, images: Images) -> None:
    tags = [{image.rpartition(":")[2] for image in found} for found in story.images]
    assert tags == [{before.tag}, {images.tag}, {before.tag}]


def test_redis_runs_on_and_nothing_is_started_again(story: Story) -> None:
    assert story.redis[0] == story.redis[1] == story.redis[2]
    assert set(restarts(story.pods).values()) == {0}


def test_an_operator_leads_and_the_number_of_workers_is_unchanged(story: Story) -> None:
    assert story.sizes == [WORKERS]
    assert Operator(story.release).await_leader()

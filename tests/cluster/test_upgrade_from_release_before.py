"""From the release before, its own images and chart, to this one and back, while all is in use.

Its images are built from its commit, so this clone must have the history.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.cluster import Absent, Cluster, Images
from tests.cluster.driving import types_configmap, types_values
from tests.cluster.operating import Operator
from tests.cluster.release import Release, fixed, merged, restarts, small, uids
from tests.cluster.upgrading import QUIET_SECONDS, Outcome, in_use, replaced
from tests.servers import absent

VERSION = "0.2.0"
COMMIT = "ae23187ef8df72e36129609eedac622655549490"
CHART = Path(__file__).with_name("releases") / f"headrace-{VERSION}.tgz"
WORKERS = 2
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
    outcome: Outcome = field(default_factory=Outcome)

    def look(self) -> None:
        """Take note of what runs now."""
        deployments = self.release.cluster.list(self.release.namespace, "deployments")
        specs = [deployment["spec"]["template"]["spec"] for deployment in deployments]
        self.images.append({spec["containers"][0]["image"] for spec in specs})
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
        what = f"upgrade from {VERSION} and rollback"
        with in_use(release, images.api, counted, what) as story.outcome:
            with replaced(release):
                release.upgrade(merged(small(images), common))
            story.look()
            time.sleep(QUIET_SECONDS)
            with replaced(release):
                release.rollback(1)
            story.look()
        yield story


def test_no_request_fails(story: Story) -> None:
    story.outcome.check_requests()


def test_no_acknowledged_task_is_lost_or_interrupted(story: Story) -> None:
    story.outcome.check_tasks(naps=50)


def test_the_images_are_those_of_each_release(story: Story, before: Images, images: Images) -> None:
    tags = [{image.rpartition(":")[2] for image in found} for found in story.images]
    assert tags == [{before.tag}, {images.tag}, {before.tag}]


def test_redis_runs_on_and_nothing_is_started_again(story: Story) -> None:
    assert story.redis[0] == story.redis[1] == story.redis[2]
    assert set(restarts(story.outcome.pods).values()) == {0}


def test_an_operator_leads_and_the_number_of_workers_is_unchanged(story: Story) -> None:
    assert story.outcome.sizes == [WORKERS]
    assert Operator(story.release).await_leader()

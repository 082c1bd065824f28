"""An upgrade of image, values and a workflow at once, and the way back, while everything is in use.

Two loads that never retry send requests all along, one by the ingress controller from outside and
one by the Service from a pod. Tasks of 1 to 30 seconds run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.conftest import Ingress
from tests.cluster.driving import (
    LocalLoad,
    PodLoad,
    Report,
    all_ended,
    interrupted,
    types_configmap,
    types_values,
)
from tests.cluster.operating import Operator, Pool
from tests.cluster.release import NAME, Release, client, fixed, merged, restarts, small, uids

HOST = "upgrade.test"
RATE = 70
WANTED_RATE = 50
MIX = "nap=2,hello=3,read=52,stats=3"
QUIET_SECONDS = 6.0
SHOWN = 5


@dataclass
class Story:
    """What the tests below look at."""

    release: Release
    reports: dict[str, Report] = field(default_factory=dict)
    records: list[Object] = field(default_factory=list)
    """Of the tasks that the loads were told of as acknowledged."""
    before: Object = field(default_factory=dict)
    upgraded: Object = field(default_factory=dict)
    returned: Object = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Of the worker pool, all along."""


def workflow(name: str, answer: str, *, wait_seconds: int = 0) -> str:
    """A definition that gives an answer, perhaps later."""
    wait = f"  - pause: {{wait: {{seconds: {wait_seconds}}}}}\n" if wait_seconds else ""
    return (
        f"document: {{dsl: '1.0.3', namespace: tests, name: {name}, version: '1.0.0'}}\n"
        f"do:\n{wait}  - answer: {{set: {{text: {answer}}}}}\n"
    )


def values(images: Images, ingress: Ingress, tag: str, answer: str, level: str) -> Object:
    """What an upgrade changes: the images' tag, a workflow, a setting of all pods."""
    definitions = {
        "answer.yaml": workflow("answer", answer),
        "late.yaml": workflow("late", answer, wait_seconds=45),
    }
    own = {
        "image": {"tag": tag},
        "logs": {"level": level},
        "workflows": {"definitions": definitions},
        "api": {"replicas": 2, "shutdownDelaySeconds": 10},
        "workerDefaults": {"concurrency": 50, "gracePeriodSeconds": 90},
        "ingress": {"enabled": True, "className": ingress.class_name, "hosts": [HOST]},
    }
    return merged(small(images), types_values(), fixed(2), own)


@pytest.fixture(scope="module")
def story(
    cluster: Cluster,
    images: Images,
    other_tag: str,
    ingress: Ingress,
    counted: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """The whole of it, once."""
    first = values(images, ingress, images.tag, "first", "info")
    second = values(images, ingress, other_tag, "second", "warning")
    with cluster.namespace("upgrade") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        release.install(first)
        story = Story(release)
        story.before = _state(release)
        late = _late(release)
        folder = tmp_path_factory.mktemp("load")
        with (
            Pool(release).sizes() as sizes,
            _load(release, images, ingress, folder) as story.reports,
        ):
            time.sleep(QUIET_SECONDS)
            old = uids(release.pods("api") + release.pods("worker"))
            release.upgrade(second)
            release.gone(old)
            story.upgraded = _state(release)
            old = uids(release.pods("api") + release.pods("worker"))
            release.rollback(1)
            release.gone(old)
            story.returned = _state(release)
            time.sleep(QUIET_SECONDS)
        story.pods = release.pods()
        story.sizes = [size.replicas for size in sizes.all()]
        counted += [
            f"upgrade and rollback, by {name}: {story.reports[name]}" for name in story.reports
        ]
        with release.api() as api:
            story.upgraded["late"] = api.ended(late, 90)["result"]["variables"]
            ids = [task_id for report in story.reports.values() for task_id in report.acknowledged]
            story.records = all_ended(api, ids)
        broken = len(interrupted(story.records))
        counted.append(f"  {len(story.records)} of both have ended, {broken} interrupted")
        yield story


def test_no_request_fails(story: Story) -> None:
    for name, report in story.reports.items():
        assert report.count(200, 202) == report.requests, (name, report.answers, report.failures)


def test_the_load_was_what_it_should_be(story: Story) -> None:
    for name, report in story.reports.items():
        assert report.slowest_window() >= WANTED_RATE, (name, report.answers_by_second)


def test_no_acknowledged_task_is_lost(story: Story) -> None:
    acknowledged = [task_id for report in story.reports.values() for task_id in report.acknowledged]
    assert len(acknowledged) == len(set(acknowledged)) > 200
    assert sorted(record["task_id"] for record in story.records) == sorted(acknowledged)
    assert {record["status"] for record in story.records} == {"completed"}


def test_no_task_is_interrupted(story: Story) -> None:
    assert sum(record["type"] == "nap" for record in story.records) > 100
    assert interrupted(story.records)[:SHOWN] == []


def test_the_upgrade_changed_image_values_and_workflow(
    story: Story, images: Images, other_tag: str
) -> None:
    assert story.before["images"] == {images.tag}
    assert story.before["answer"] == {"text": "first"}
    assert story.upgraded["images"] == {other_tag}
    assert story.upgraded["levels"] == {"warning"}
    assert story.upgraded["answer"] == {"text": "second"}


def test_a_run_goes_on_with_the_definition_that_it_was_submitted_with(story: Story) -> None:
    assert story.upgraded["late"] == {"text": "first"}


def test_the_rollback_leads_back(story: Story) -> None:
    assert story.returned["images"] == story.before["images"]
    assert story.returned["levels"] == story.before["levels"] == {"info"}
    assert story.returned["answer"] == {"text": "first"}


def test_secrets_and_redis_are_not_touched(story: Story) -> None:
    for name in ("key", "operator_key", "password", "redis"):
        assert story.before[name] == story.upgraded[name] == story.returned[name]
    assert set(restarts(story.pods).values()) == {0}


def test_an_operator_leads_and_leaves_the_pools_size_alone(story: Story) -> None:
    assert story.sizes == [2]
    assert Operator(story.release).await_leader()
    assert Pool(story.release).await_condition("Ready")


def _state(release: Release) -> Object:
    """What a user sees of a revision."""
    names = ("api", "worker-default", "controller")
    deployments = [release.get("deployment", f"{NAME}-{name}") for name in names]
    containers = [
        deployment["spec"]["template"]["spec"]["containers"][0] for deployment in deployments
    ]
    levels = {
        variable["value"]
        for container in containers
        for variable in container["env"]
        if variable["name"] == "LOG_LEVEL"
    }
    with release.api() as api:
        answer = api.answer("answer", {})
    return {
        "images": {container["image"].rpartition(":")[2] for container in containers},
        "levels": levels,
        "answer": answer,
        "key": release.key,
        "operator_key": release.operator_key,
        "password": release.secret(f"{NAME}-redis", "password"),
        "redis": uids(release.pods("redis")),
    }


def _late(release: Release) -> str:
    """A run that waits until the upgrade is over."""
    with release.api() as api:
        return str(api.execute("late", {})["task_id"])


@contextlib.contextmanager
def _load(
    release: Release, images: Images, ingress: Ingress, folder: Path
) -> Iterator[dict[str, Report]]:
    """Both loads. What they report is there afterwards."""
    reports: dict[str, Report] = {}
    options = ("--rate", str(RATE), "--mix", MIX, "--nap-seconds", "1", "30")
    _published(release, ingress)
    outside = LocalLoad(folder, ingress.http, HOST, release.key, *options)
    try:
        inside = PodLoad(release.cluster, release.namespace, images.api, *options)
        yield reports
        reports["ingress"] = outside.stop()
        reports["service"] = inside.stop()
    finally:
        outside.kill()


def _published(release: Release, ingress: Ingress) -> None:
    """The ingress controller has taken the Ingress up."""
    with client(ingress.http, release.key, headers={"Host": HOST}) as api_client:
        eventually(lambda: api_client.get("/readyz").status_code == 200, "the Ingress is served")

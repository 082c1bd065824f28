"""A pool follows its queue from no worker to ten and back, and says why.

Two releases: one as the chart comes, whose last worker goes after two minutes; meanwhile, one with
a short window and cooldown.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.driving import all_ended, interrupted, types_configmap, types_values
from tests.cluster.measure_operator import WAKE_SECONDS, wake
from tests.cluster.operating import Pool, autoscaling
from tests.cluster.recording import Sizes
from tests.cluster.release import Release, merged, small

WINDOW, COOLDOWN = 60, 120
"""The chart's defaults, in seconds."""
SHORT_WINDOW, SHORT_COOLDOWN = 4, 12
SLACK = 10.0
"""So much later, in seconds, something may be done."""
EARLY = 2.0
"""So much earlier it may seem to be done: the operator looks once a second."""
DUE_SOON = 30
SHORT = autoscaling(stabilizationSeconds=SHORT_WINDOW, cooldownSeconds=SHORT_COOLDOWN)


@dataclass
class Watched:
    """A release's pool, and the sizes that it has been given."""

    release: Release
    pool: Pool
    sizes: Sizes
    emptied_at: float = 0.0
    """When its last task had ended."""


@contextlib.contextmanager
def _watched(cluster: Cluster, values: Object, purpose: str) -> Iterator[Watched]:
    with cluster.namespace(purpose) as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        release.install(values)
        pool = Pool(release)
        with pool.sizes() as sizes:
            yield Watched(release, pool, sizes)


@pytest.fixture(scope="module")
def plain(cluster: Cluster, images: Images) -> Iterator[Watched]:
    """As the chart comes, from no worker on."""
    with _watched(cluster, merged(small(images), types_values()), "plain") as watched:
        watched.pool.await_condition("Ready")
        watched.pool.scale(0)
        eventually(lambda: watched.pool.status().get("replicas") == 0, "the operator has seen it")
        eventually(lambda: watched.pool.pods() == [], "the first worker is gone")
        yield watched


@pytest.fixture(scope="module")
def quick(cluster: Cluster, images: Images) -> Iterator[Watched]:
    """With a short window and cooldown."""
    with _watched(cluster, merged(small(images), types_values(), SHORT), "quick") as watched:
        yield watched


def test_two_hundred_tasks_wake_a_pool_of_none(plain: Watched, counted: list[str]) -> None:
    with plain.release.api() as api:
        seconds, ids = wake(api, plain.sizes, [{"seconds": 1.5}] * 200)
        counted.append(f"from no worker, 200 tasks: a size is written after {seconds:.2f} s")
        assert seconds <= WAKE_SECONDS
        limited = plain.pool.await_condition("ScalingLimited")
        assert limited["message"].endswith(" wanted, max is 10")
        records = all_ended(api, ids)
    assert interrupted(records) == []
    plain.emptied_at = _ended_at(records)
    assert [size.replicas for size in plain.sizes.all()][:2] == [1, 0]
    assert plain.sizes.now == 10


def test_the_last_worker_of_a_new_pool_goes_after_the_cooldown(quick: Watched) -> None:
    eventually(lambda: quick.sizes.now == 0, "the cooldown is over", SHORT_COOLDOWN + SLACK)
    assert [size.replicas for size in quick.sizes.all()] == [1, 0]
    [event] = quick.pool.events("ScaledDown")
    assert event["note"].startswith("1 -> 0 workers: ")


def test_it_says_what_it_does_and_why(quick: Watched) -> None:
    with quick.release.api() as api:
        ids = api.submit_all("nap", [{"seconds": 8}] * 12)
        quick.pool.await_size(3)
        eventually(lambda: quick.pool.status().get("replicas") == 3, "the status tells the size")
        row = _row(quick)
        message = row.pop("MESSAGE")
        assert row == {
            "NAME": quick.pool.deployment,
            "TARGET": quick.pool.deployment,
            "MIN": "0",
            "MAX": "10",
            "REPLICAS": "3",
            "DESIRED": "3",
            "DRAINING": "0",
            "DEMAND": "12",
            "READY": "True",
            "REASON": "WorkAtHand",
            "AGE": row["AGE"],
        }
        assert message == "3 workers: 12 tasks queued, running or due soon, 5 a worker at once"
        assert quick.pool.holds("Active")

        records = all_ended(api, ids)
    assert interrupted(records) == []
    quick.emptied_at = _ended_at(records)
    eventually(lambda: quick.pool.reason() == "CoolingDown", "it cools down", 30)
    assert f"of {SHORT_COOLDOWN} s" in _row(quick)["MESSAGE"]
    assert quick.pool.holds("Active", "False")
    eventually(lambda: quick.sizes.now == 0, "the cooldown is over", SHORT_COOLDOWN + SLACK)
    _went_in_time(quick, SHORT_WINDOW, SHORT_COOLDOWN)
    eventually(lambda: _row(quick)["REPLICAS"] == "0", "the status tells the size")
    row = _row(quick)
    assert (row["DESIRED"], row["DEMAND"], row["REASON"]) == ("0", "0", "NoWork")


def test_there_is_an_event_for_each_change(quick: Watched) -> None:
    changes = [(old.replicas, new.replicas) for old, new in quick.sizes.changes()]
    assert (0, 3) in changes

    def all_told() -> bool:
        return len(quick.pool.events("ScaledUp", "ScaledDown")) >= len(changes)

    eventually(all_told, "the last change is told")
    events = quick.pool.events("ScaledUp", "ScaledDown")
    notes = [event["note"].partition(" workers") for event in events]
    assert [head for head, _, _ in notes] == [f"{old} -> {new}" for old, new in changes]
    assert all(": " in why for _, _, why in notes), notes
    assert [event["reason"] == "ScaledUp" for event in events] == [
        old < new for old, new in changes
    ]
    assert {event["type"] for event in events} == {"Normal"}


def test_a_retry_that_is_due_later_wakes_a_pool_of_none(quick: Watched) -> None:
    with quick.release.api() as api:
        ids = api.submit_all("stumble", [{}] * 30)

        def all_failed() -> bool:
            return all(api.task(id)["retry_count"] for id in ids)

        eventually(all_failed, "each has failed once", 30)
        records = [api.task(id) for id in ids]
        due = {
            record["task_id"]: datetime.fromisoformat(record["due_at"])
            for record in records
            if record["status"] == "pending"
        }
        *others, last = sorted(due, key=due.__getitem__)
        for other in others:
            assert api.client.post(f"/api/tasks/{other}/cancel").status_code in (200, 409)
        began = time.monotonic()
        due_in = (due[last] - datetime.now(UTC)).total_seconds()
        assert due_in > DUE_SOON + SHORT_COOLDOWN + EARLY, "so late that the pool has no worker"
        eventually(lambda: quick.sizes.now == 0, "nothing is left to do", SHORT_COOLDOWN + SLACK)
        eventually(lambda: quick.sizes.now == 1, "a worker for the retry", due_in)
        assert due_in - DUE_SOON - EARLY < time.monotonic() - began < due_in
        record = api.ended(last, DUE_SOON + SLACK)
    assert (record["status"], record["result"]) == ("completed", {"attempt": 2})
    assert (record["attempt"], record["retry_count"], record["crash_count"]) == (2, 1, 0)
    assert datetime.fromisoformat(record["started_at"]) - due[last] < timedelta(seconds=2)


def test_upgrades_leave_the_size_that_the_operator_wrote(quick: Watched, images: Images) -> None:
    values = merged(small(images), types_values(), SHORT, autoscaling(minReplicas=3))
    quick.release.upgrade(values, wait=False)
    quick.pool.await_size(3)
    before = quick.sizes.all()
    changed = {"controller": {"podAnnotations": {"changed": "yes"}}}
    quick.release.upgrade(merged(values, changed), wait=False)
    quick.release.rollback(2, wait=False)
    assert quick.pool.size() == 3
    assert quick.sizes.all() == before


def test_kubectl_explains_the_resource(cluster: Cluster, quick: Watched) -> None:
    said = cluster.kubectl("explain", "wa.spec")
    assert "WorkerAutoscaler" in said
    for name in quick.pool.autoscaler()["spec"]:
        assert f"\n  {name}\t<" in said
        explained = cluster.kubectl("explain", f"wa.spec.{name}")
        assert len(explained.partition("DESCRIPTION:")[2].split()) > 3, explained


def test_by_default_the_last_worker_goes_two_minutes_after_the_last_task(plain: Watched) -> None:
    left = COOLDOWN - (time.monotonic() - plain.emptied_at)
    eventually(lambda: plain.sizes.now == 0, "the cooldown is over", max(left, 0) + SLACK)
    _went_in_time(plain, WINDOW, COOLDOWN)


def _went_in_time(watched: Watched, window: float, cooldown: float) -> None:
    """Fewer a window after most were wanted, none a cooldown after the last task, not before."""
    sizes = watched.sizes
    peak = max((size for size in sizes.all()), key=lambda size: size.replicas)
    fewer = sizes.first(lambda size: size < peak.replicas, since=peak.at)
    none = sizes.first(lambda size: size == 0, since=peak.at)
    assert fewer is not None
    assert none is not None
    after = none.at - watched.emptied_at
    assert cooldown - EARLY <= after <= cooldown + SLACK
    assert fewer.at - peak.at >= window - EARLY
    down = [size.replicas for size in sizes.all() if size.at >= peak.at]
    assert down == sorted(down, reverse=True)


def _ended_at(records: list[Object]) -> float:
    """When the last of these tasks ended, by `time.monotonic()`."""
    last = max(datetime.fromisoformat(record["completed_at"]) for record in records)
    return time.monotonic() - (datetime.now(UTC) - last).total_seconds()


def _row(watched: Watched) -> dict[str, str]:
    """What `kubectl get wa` shows, by column."""
    said = watched.release.kubectl("get", "wa", watched.pool.deployment)
    head, row = said.splitlines()
    names = head.split()
    starts = [head.index(name) for name in names]
    ends = [*starts[1:], len(row)]
    return {
        name: row[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)
    }

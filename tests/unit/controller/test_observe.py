"""Which pods count, what a rollout is, and which size is the latest."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model import Pod
from controller.observe import Size, counted, observe, rolling_out, selects, settled
from tests.unit.controller.fakes import deployment, pod
from tests.unit.controller.scenes import AWAY, START


def names(*pods: Any) -> list[str]:
    return [pod["metadata"]["name"] for pod in counted(deployment(1), pods)]


def test_only_pods_that_the_replica_set_counts_are_seen() -> None:
    by_hand = pod("by-hand", ownerReferences=[])
    of_a_job = pod("job", ownerReferences=[{"kind": "Job", "controller": True}])
    not_controlled = pod("loose", ownerReferences=[{"kind": "ReplicaSet", "name": "x"}])
    going = pod("going", deletionTimestamp="2027-01-15T08:00:00Z")
    other = pod("other", labels={"app": "api"})
    failed, done, pending = pod("failed"), pod("done"), pod("pending")
    failed["status"]["phase"] = "Failed"
    done["status"]["phase"] = "Succeeded"
    pending["status"] = {"phase": "Pending"}
    seen = (by_hand, of_a_job, not_controlled, going, other, failed, done, pending, pod("p"))
    assert names(*seen) == ["pending", "p"]


@pytest.mark.parametrize(
    ("operator", "values", "labels", "expected"),
    [
        ("In", ["a", "b"], {"pool": "a"}, True),
        ("In", ["a", "b"], {"pool": "c"}, False),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {"pool": "b"}, True),
        ("NotIn", ["a"], {"pool": "a"}, False),
        ("NotIn", ["a"], {}, True),
        ("Exists", [], {"pool": "a"}, True),
        ("Exists", [], {}, False),
        ("DoesNotExist", [], {}, True),
        ("DoesNotExist", [], {"pool": "a"}, False),
    ],
)
def test_expressions_of_a_selector(
    operator: str, values: list[str], labels: dict[str, str], expected: bool
) -> None:
    expression = {"key": "pool", "operator": operator, "values": values}
    assert selects({"matchExpressions": [expression]}, labels) is expected
    assert not selects({"matchExpressions": [expression], "matchLabels": {"x": "y"}}, labels)


def test_a_pod_has_started_when_a_container_of_it_runs() -> None:
    pulling, crashing, runs = pod("pulling"), pod("crashing"), pod("runs")
    pulling["status"] = {"phase": "Pending"}
    crashing["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoop"}}
    runs["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    since = {"startedAt": "2027-01-15T08:00:05Z"}
    runs["status"]["containerStatuses"][0]["state"] = {"running": since}
    assert observe(deployment(3), [pulling, crashing, runs], AWAY, at=START).pods == (
        Pod("pulling", started=False, ready=False),
        Pod("crashing", started=False, ready=True),
        Pod("runs", started=True, ready=False, started_at=START + 5),
    )


@pytest.mark.parametrize(
    ("waiting", "started_at"),
    [(None, START + 5), ("ContainerCreating", START + 5), ("ErrImagePull", None)],
)
def test_a_pod_is_being_made_from_the_moment_that_a_node_has_it_unless_it_cannot_run(
    waiting: str | None, started_at: float | None
) -> None:
    made, unscheduled = pod("made"), pod("unscheduled")
    since = {"lastTransitionTime": "2027-01-15T08:00:05Z"}
    made["status"] = {"conditions": [{"type": "PodScheduled", "status": "True", **since}]}
    if waiting:
        made["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": waiting}}}]
    unscheduled["status"] = {"conditions": [{"type": "PodScheduled", "status": "False", **since}]}
    assert observe(deployment(2), [made, unscheduled], AWAY, at=START).pods == (
        Pod("made", started=False, ready=False, started_at=started_at),
        Pod("unscheduled", started=False, ready=False),
    )


# What a Deployment's status says, as a real controller was seen to write it.
PLAIN: dict[str, dict[str, Any]] = {
    "new, and not looked at": {"observedGeneration": 0, "replicas": 0, "updatedReplicas": 0},
    "larger, pods not made yet": {"replicas": 2, "updatedReplicas": 2},
    "larger, pods starting": {"readyReplicas": 2, "availableReplicas": 2},
    "smaller, pods still there": {"replicas": 7, "updatedReplicas": 7},
    "none can be made (a quota)": {"replicas": 0, "updatedReplicas": 0},
    "at rest": {},
}
ROLLING: dict[str, dict[str, Any]] = {
    "begun": {"updatedReplicas": 0},
    "a surge pod": {"replicas": 6, "updatedReplicas": 1},
    "the last old one": {"replicas": 6, "updatedReplicas": 5},
    "stuck": {"replicas": 6, "updatedReplicas": 2, "availableReplicas": 4},
}


@pytest.mark.parametrize("status", PLAIN.values(), ids=PLAIN)
def test_plain_scaling_is_no_rollout(status: dict[str, Any]) -> None:
    found = deployment(5, **status)
    if not found["status"]["replicas"]:
        # As zeros are: left out.
        del found["status"]["replicas"], found["status"]["updatedReplicas"]
    assert not rolling_out(found)


@pytest.mark.parametrize("status", ROLLING.values(), ids=ROLLING)
def test_old_pods_beside_new_ones_are_a_rollout(status: dict[str, Any]) -> None:
    found = deployment(5, **status)
    if not found["status"]["updatedReplicas"]:
        del found["status"]["updatedReplicas"]
    assert rolling_out(found)
    assert not settled(found)


def test_a_new_spec_that_nobody_has_looked_at_may_be_a_rollout_and_is_not_settled() -> None:
    found = deployment(5)
    found["metadata"]["generation"] = 2
    assert not settled(found)
    assert not rolling_out(found)
    found["status"]["observedGeneration"] = 2
    assert settled(found)


def test_what_was_written_counts_until_the_watch_shows_something_later() -> None:
    watched = deployment(5, 10)
    assert observe(watched, [], AWAY, at=START).replicas == 5
    assert observe(watched, [], AWAY, at=START, last_size=Size(8, 11)).replicas == 8
    assert observe(watched, [], AWAY, at=START, last_size=Size(8, 9)).replicas == 5
    # As numbers: "9" would be after "10".
    assert observe(deployment(5, 9), [], AWAY, at=START, last_size=Size(8, 10)).replicas == 8

"""Turns Kubernetes' objects into the decision's input: size, pods, and whether a rollout runs.

    replicas     the Deployment's, or what this process wrote and the watch has not shown yet
    pods         those that a ReplicaSet counts, so that a smaller size takes from them
    rolling_out  old pods are still counted beside those of the newest template

A rollout shows in the Deployment's status alone, by the rule of `kubectl rollout status`:
`status.replicas`, all pods, are more than `status.updatedReplicas`, those of the newest ReplicaSet.
Both come from one look of its controller, so plain scaling moves them together and is none, and
pods that start, or cannot, are none. Before the controller has looked at a new template
(`observedGeneration` is behind) nothing tells yet: a new size looks the same for as long. So a
decision goes on meanwhile, and what is written smaller waits for it: `settled`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.model import Observation, Pod, Reading, Unread
from controller.resource import Body


@dataclass(frozen=True)
class Size:
    """A Deployment's replicas as the API server told them, and as of which version of it."""

    replicas: int
    version: int
    """`metadata.resourceVersion`: it grows with each change."""

    @classmethod
    def of(cls, body: Body) -> Size:
        """Of a Deployment or of its Scale: they share the version. Replicas left out are 1."""
        return cls(body["spec"].get("replicas", 1), int(body["metadata"]["resourceVersion"]))


def observe(
    deployment: Body,
    pods: Iterable[Body],
    reading: Reading | Unread,
    *,
    at: float,
    last_size: Size | None = None,
    paused: bool = False,
    conflict: str | None = None,
) -> Observation:
    """All that is known at this moment.

    Args:
        deployment: as the watch shows it.
        pods: those that are counted.
        reading: the last one.
        at: this moment, by the operator's wall clock.
        last_size: the size that was last heard of otherwise, by writing it or asking for it.
        paused: whether the resource is.
        conflict: who else scales the Deployment.
    """
    return Observation(
        reading=reading,
        at=at,
        replicas=newest(Size.of(deployment), last_size).replicas,
        pods=tuple(_pod(pod) for pod in pods),
        rolling_out=rolling_out(deployment),
        paused=paused,
        conflict=conflict,
    )


def newest(watched: Size, last_size: Size | None) -> Size:
    """Which of the two is later: a watch may show what was written only a moment after."""
    return last_size if last_size and last_size.version > watched.version else watched


def rolling_out(deployment: Body) -> bool:
    """Whether pods of an older template are still counted."""
    status = deployment.get("status") or {}
    return bool(status.get("replicas", 0) > status.get("updatedReplicas", 0))


def settled(deployment: Body) -> bool:
    """Whether its controller has seen its newest spec, and no rollout is under way."""
    seen = (deployment.get("status") or {}).get("observedGeneration", 0)
    return bool(seen >= deployment["metadata"]["generation"]) and not rolling_out(deployment)


def counted(deployment: Body, pods: Iterable[Body]) -> list[Body]:
    """The Deployment's pods that a ReplicaSet counts as its replicas.

    As its controller does: neither ended nor being deleted. A pod without a ReplicaSet, started by
    hand with the same labels, is not taken by a smaller size.
    """
    selector = deployment["spec"]["selector"]
    return [
        pod
        for pod in pods
        if _of_a_replica_set(pod)
        and "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
        and selects(selector, pod["metadata"].get("labels") or {})
    ]


def selects(selector: Body, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector takes these labels."""
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _fits(expression, labels) for expression in expressions
    )


def _fits(expression: Body, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _of_a_replica_set(pod: Body) -> bool:
    owners: list[dict[str, Any]] = pod["metadata"].get("ownerReferences") or []
    return any(owner["kind"] == "ReplicaSet" and owner.get("controller") for owner in owners)


def _pod(pod: Body) -> Pod:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    states = [status.get("state") or {} for status in statuses]
    running = [state["running"] for state in states if "running" in state]
    since = [state["startedAt"] for state in running if state.get("startedAt")]
    if not running and all(_being_made(state) for state in states):
        since = [condition["lastTransitionTime"] for condition in _true(pod, "PodScheduled")]
    return Pod(
        pod["metadata"]["name"],
        started=bool(running),
        ready=bool(_true(pod, "Ready")),
        started_at=datetime.fromisoformat(max(since)).timestamp() if since else None,
    )


def _being_made(state: Body) -> bool:
    """Whether a container may run any moment. Whatever else it waits for is an error's end."""
    return (state.get("waiting") or {}).get("reason") in ("ContainerCreating", "PodInitializing")


def _true(pod: Body, kind: str) -> list[Body]:
    """The conditions of this type that are true: one, or none."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return [
        condition
        for condition in conditions
        if (condition["type"], condition["status"]) == (kind, "True")
    ]

"""Kubernetes events: which changes of a status make one, and how it is written.

They follow from the resource's own status, the old and the new, so that neither a new process nor
a poll tells anything twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from controller.kube import GROUP, VERSION, Json
from controller.resource import Identity
from controller.status import (
    CONFLICT,
    DRAINING_FAILED,
    INVALID_SPEC,
    LIMITED,
    PAUSED,
    READY,
    SCALING_DELAYED,
    SCALING_FAILED,
    STATS,
    TARGET_NOT_FOUND,
    TOO_MANY,
    Status,
    timestamp,
)

CONTROLLER = "headrace.dev/operator"
LONGEST_NOTE = 1024
"""Characters; Kubernetes takes no more."""
AGAIN_SECONDS = 300.0
"""How soon what comes and goes is told again."""


@dataclass(frozen=True)
class Event:
    """Something to tell of a resource."""

    reason: str
    message: str
    warning: bool = False
    recurs: bool = False
    """Whether it may come and go each second."""


@dataclass
class Lately:
    """What was told lately: what comes and goes is told once in five minutes."""

    _told_at: dict[str, float] = field(default_factory=dict)

    def worth_telling(self, events: Iterable[Event], now: float) -> list[Event]:
        """Those that are to be told now, and count as told from here on."""
        due = [
            event
            for event in events
            if not event.recurs or now - self._told_at.get(event.reason, -math.inf) >= AGAIN_SECONDS
        ]
        self._told_at |= {event.reason: now for event in due}
        return due


def events(old: Status, new: Status) -> list[Event]:
    """What is to be told of a change of status."""
    return [*_scaled(old, new), *_failed(old, new), *_limited(old, new), *_flipped(old, new)]


def body(event: Event, identity: Identity, *, instance: str, now: float) -> Json:
    """An event as the API server takes it.

    Args:
        event: what to write.
        identity: of which resource.
        instance: the pod that tells it.
        now: the operator's clock.
    """
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{identity.name}-", "namespace": identity.namespace},
        "eventTime": timestamp(now, "microseconds"),
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "note": event.message[:LONGEST_NOTE],
        "action": "Scale",
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "WorkerAutoscaler",
            "namespace": identity.namespace,
            "name": identity.name,
            "uid": identity.uid,
        },
    }


_SIZE = re.compile(r"^\d+ workers?: ")
"""How a decision's sentence begins, whose target is told otherwise."""


def _scaled(old: Status, new: Status) -> Iterable[Event]:
    before, after = old.get("replicas"), new.get("replicas")
    written = old.get("lastScaleTime") != new.get("lastScaleTime")
    if before is None or after is None or before == after or not written:
        return
    reason = "ScaledUp" if after > before else "ScaledDown"
    target = new["desiredReplicas"]
    towards = "" if target == after else f" (target {target})"
    why = _SIZE.sub("", new["lastDecision"]["message"])
    yield Event(reason, f"{before} -> {after} workers{towards}: {why}")


def _failed(old: Status, new: Status) -> Iterable[Event]:
    before, after = _condition(old, READY), _condition(new, READY)
    faults = (
        TARGET_NOT_FOUND,
        INVALID_SPEC,
        SCALING_FAILED,
        SCALING_DELAYED,
        DRAINING_FAILED,
    )
    failed = after["status"] == "False" and after["reason"] in faults
    if failed and (after["status"], after["reason"]) != (before["status"], before["reason"]):
        yield Event(after["reason"], after["message"], warning=True, recurs=True)


def _limited(old: Status, new: Status) -> Iterable[Event]:
    """The upper limit alone: an idle pool that keeps its minimum is as it should be."""
    before, after = _condition(old, LIMITED), _condition(new, LIMITED)
    if after["reason"] == TOO_MANY != before["reason"]:
        yield Event("ScalingLimited", after["message"], recurs=True)


@dataclass(frozen=True)
class _Rule:
    """How a condition that begins to have a status, and ends to, becomes an event."""

    condition: str
    flag: str
    onset: str
    end: str | None = None
    warning: bool = False


_RULES = (
    _Rule(STATS, "False", "StatsLost", "StatsBack", warning=True),
    _Rule(CONFLICT, "True", "Conflict", "ConflictResolved", warning=True),
    _Rule(PAUSED, "True", "Paused", "Resumed"),
)


def _flipped(old: Status, new: Status) -> Iterator[Event]:
    for rule in _RULES:
        before, after = _condition(old, rule.condition), _condition(new, rule.condition)
        if after["status"] == before["status"]:
            continue
        if after["status"] == rule.flag:
            message = after["message"]
            if rule.condition == STATS:
                message = f"{after['reason']}: {message}"
            yield Event(rule.onset, message, rule.warning)
        elif before["status"] == rule.flag and rule.end and after["status"] != "Unknown":
            yield Event(rule.end, after["message"])


def _condition(status: Status, kind: str) -> dict[str, Any]:
    found = (condition for condition in status.get("conditions") or () if condition["type"] == kind)
    return next(found, {"status": "Unknown", "reason": "", "message": ""})

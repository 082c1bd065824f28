"""The resource's status: what it says, and when it is worth writing.

A condition's `lastTransitionTime` moves only when its status flips. What changes all the time,
numbers and sentences, is written now and then, so that a resource costs the API server little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from controller.model import Decision, Observation, Reading, Spec, Unread, Worker

Status = dict[str, Any]
"""As the resource's `status`; None stands for a field to be removed."""
Flag = Literal["True", "False", "Unknown"]

READY, ACTIVE, STATS, LIMITED = "Ready", "Active", "StatsAvailable", "ScalingLimited"
PAUSED, CONFLICT = "Paused", "Conflict"

TARGET_NOT_FOUND, INVALID_SPEC = "TargetNotFound", "InvalidSpec"
SCALING_FAILED, DRAINING_FAILED = "ScalingFailed", "DrainingFailed"
SCALING_DELAYED = "ScalingDelayed"

TOO_MANY = "TooManyReplicas"
"""More are wanted, or still drain, than the limit allows: a HorizontalPodAutoscaler's word."""


@dataclass(frozen=True)
class Fault:
    """Why the resource cannot be acted for: a code and a sentence."""

    reason: str
    message: str


def decided(
    old: Status,
    observation: Observation,
    decision: Decision,
    spec: Spec,
    *,
    now: float,
    generation: int,
    replicas: int,
    scaled_at: float | None,
    fault: Fault | None = None,
    starting: bool = False,
    standby: str | None = None,
) -> Status:
    """The status after a decision.

    Args:
        old: the status before.
        observation: what was decided from.
        decision: what was decided.
        spec: the resource's.
        now: the operator's clock.
        generation: the resource's.
        replicas: the Deployment's, after what was written.
        scaled_at: when the size was last written by this process; None: never.
        fault: what failed in carrying it out.
        starting: whether the resource is so new that its API may still come.
        standby: the Lease of another operator that serves the resource as well, and stands back.
    """
    reading = observation.reading
    flags = _flags(observation, decision, spec, fault, starting, standby)
    counts = {
        "demand": decision.demand,
        "drainingReplicas": _draining(observation, decision),
        "lastDecision": _last_decision(now, decision.reason, decision.message, decision.wanted),
    }
    last_scaled = old.get("lastScaleTime")
    scaled = last_scaled if scaled_at is None else timestamp(scaled_at, "milliseconds")
    if decision.demand is None and decision.stats_available and scaled == last_scaled:
        # A gap too short to tell of.
        del flags[ACTIVE], flags[LIMITED]
        counts = {}
    status = {
        **old,
        **counts,
        "observedGeneration": generation,
        "replicas": replicas,
        "desiredReplicas": decision.target,
        "conditions": _conditions(old, flags, now, generation),
    }
    if isinstance(reading, Reading) and decision.demand is not None:
        status["lastReading"] = _summary(observation, reading, spec)
    if scaled:
        status["lastScaleTime"] = scaled
    return status


def undecided(
    old: Status, fault: Fault, *, now: float, generation: int, paused: bool, starting: bool = False
) -> Status:
    """The status of a resource that nothing can be decided for. `starting`: not yet."""
    unknown: _Flagged = ("Unknown", fault.reason, "nothing is decided: see Ready")
    flags: dict[str, _Flagged] = {
        READY: (_failing(starting), fault.reason, fault.message),
        **dict.fromkeys((ACTIVE, STATS, LIMITED, CONFLICT), unknown),
        PAUSED: _paused(paused),
    }
    return {
        **old,
        "observedGeneration": generation,
        **dict.fromkeys(("replicas", "desiredReplicas", "drainingReplicas", "demand")),
        "lastDecision": _last_decision(now, fault.reason, fault.message, wanted=None),
        "conditions": _conditions(old, flags, now, generation),
    }


def _flags(
    observation: Observation,
    decision: Decision,
    spec: Spec,
    fault: Fault | None,
    starting: bool,
    standby: str | None,
) -> dict[str, _Flagged]:
    # A gap that is too short to tell of is none.
    unread = None if decision.stats_available else decision.unread
    return {
        READY: _ready(observation, spec, fault, unread, starting),
        ACTIVE: _active(decision.demand),
        STATS: _stats(unread, starting),
        LIMITED: _limited(decision, spec),
        PAUSED: _paused(observation.paused),
        CONFLICT: _conflict(observation.conflict, standby),
    }


def _last_decision(now: float, reason: str, message: str, wanted: int | None) -> dict[str, object]:
    return {"time": timestamp(now), "reason": str(reason), "message": message, "wanted": wanted}


def timestamp(seconds: float, precision: str = "seconds") -> str:
    """Seconds since 1970 as Kubernetes writes them: RFC 3339 in UTC."""
    written = datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)
    return written.replace("+00:00", "Z")


# When to write

_SLOW_SECONDS, _IDLE_SECONDS, _REASON_SECONDS = 10.0, 60.0, 3.0


def due(written: Status, new: Status, seconds: float) -> bool:
    """Whether the status is worth writing, so many seconds after the last time.

    At once: sizes, flips of conditions, their reasons. After 3 s: the decision's reason alone,
    which may alternate under load. After 10 s: numbers, sentences, and the conditions that follow
    the load as numbers do. After 60 s: times alone.
    """
    for view, least in _VIEWS:
        if view(written) != view(new):
            return seconds >= least
    return False


def _sizes_and_flips(status: Status) -> Any:
    sizes = ("observedGeneration", "replicas", "desiredReplicas", "drainingReplicas")
    flips = [
        (
            condition["type"],
            condition["status"],
            condition["reason"],
            condition["lastTransitionTime"],
        )
        for condition in status.get("conditions") or ()
        if condition["type"] not in (ACTIVE, LIMITED)
    ]
    return [status.get(name) for name in (*sizes, "lastScaleTime")], flips


def _reason(status: Status) -> Any:
    return (status.get("lastDecision") or {}).get("reason")


def _without_times(status: Status) -> Any:
    return {
        key: {name: entry for name, entry in value.items() if name != "time" and entry is not None}
        if isinstance(value, dict)
        else value
        for key, value in status.items()
        if value is not None
    }


_VIEWS = (
    (_sizes_and_flips, 0.0),
    (_reason, _REASON_SECONDS),
    (_without_times, _SLOW_SECONDS),
    (lambda status: status, _IDLE_SECONDS),
)


# Conditions

_Flagged = tuple[Flag, str, str]


def _conditions(
    old: Status, flags: Mapping[str, _Flagged], now: float, generation: int
) -> list[Status]:
    """The conditions after these; those that nothing is said of stay."""
    conditions = {condition["type"]: condition for condition in old.get("conditions") or ()}
    for kind, (flag, reason, message) in flags.items():
        before = conditions.get(kind)
        since = before["lastTransitionTime"] if before and before["status"] == flag else None
        conditions[kind] = {
            "type": kind,
            "status": flag,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since or timestamp(now),
            "observedGeneration": generation,
        }
    return list(conditions.values())


def _failing(starting: bool) -> Flag:
    """What a new resource needs may still come: that is neither a failure nor an event yet."""
    return "Unknown" if starting else "False"


def _ready(
    observation: Observation,
    spec: Spec,
    fault: Fault | None,
    unread: Unread | None,
    starting: bool,
) -> _Flagged:
    if observation.conflict:
        return "False", "Conflict", f"{observation.conflict} scales the same Deployment"
    if unread:
        return _failing(starting), str(unread.reason), unread.message
    if fault:
        return "False", fault.reason, fault.message
    if observation.paused:
        return "True", "Paused", "paused: decisions are reported and not carried out"
    if spec.dry_run:
        return "True", "DryRun", "a dry run: decisions are reported and not carried out"
    return "True", "Ready", "the queue decides the size of the Deployment"


def _active(demand: int | None) -> _Flagged:
    if demand is None:
        return "Unknown", "NoReading", "the queue could not be read"
    if demand:
        return "True", "Work", "there is work"
    return "False", "NoWork", "no task waits, runs or is due soon"


def _stats(unread: Unread | None, starting: bool) -> _Flagged:
    if unread:
        return _failing(starting), str(unread.reason), unread.message
    return "True", "StatsRead", "the queue can be read"


def _limited(decision: Decision, spec: Spec) -> _Flagged:
    if not decision.limited:
        return "False", "WithinLimits", "no limit changes the size"
    if spec.min_replicas == spec.max_replicas:
        reason = "FixedSize"
    elif decision.wanted == spec.max_replicas or decision.written > spec.max_replicas:
        reason = TOO_MANY
    else:
        reason = "TooFewReplicas"
    return "True", reason, decision.limited


def _paused(paused: bool) -> _Flagged:
    if paused:
        return "True", "Paused", "the annotation headrace.dev/paused is set: nothing is written"
    return "False", "NotPaused", "the annotation headrace.dev/paused is not set"


def _conflict(conflict: str | None, standby: str | None) -> _Flagged:
    if conflict:
        message = f"{conflict} scales the same Deployment: remove one of them; nothing is written"
        return "True", "Conflict", message
    if standby:
        message = (
            f"the operator of the Lease {standby} serves this resource too and stands back:"
            " let one operator serve a namespace (controller.enabled, controller.clusterWide)"
        )
        return "True", "Conflict", message
    return "False", "NoConflict", "nobody else scales the Deployment"


def _draining(observation: Observation, decision: Decision) -> int | None:
    """Workers that drain; None: unknown without a reading."""
    if not isinstance(observation.reading, Reading):
        return None
    marked = {worker.id for worker in _workers(observation, observation.reading) if worker.draining}
    if decision.act:
        marked = (marked | set(decision.drain)) - set(decision.undrain)
    return len(marked)


def _workers(observation: Observation, reading: Reading) -> list[Worker]:
    """The pool's own: others may work for the same API."""
    pods = {pod.name for pod in observation.pods}
    return [worker for worker in reading.workers if worker.pod in pods]


def _summary(observation: Observation, reading: Reading, spec: Spec) -> Status:
    queues = [
        queue for name, queue in reading.queues.items() if not spec.queues or name in spec.queues
    ]
    return {
        "time": timestamp(reading.at),
        "queued": sum(queue.queue_length for queue in queues),
        "retries": sum(queue.queue_length_retries for queue in queues),
        "running": sum(queue.running for queue in queues),
        "dueSoon": sum(queue.due_soon for queue in queues),
        "workers": len(_workers(observation, reading)),
    }

"""The decision's input and output: plain values, no logic.

Times are in seconds since 1970: `Observation.at` by the operator's wall clock, `Reading.at` by
Redis's, `Pod.started_at` by its node's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a WorkerAutoscaler asks for.

    Raises ValueError for bounds that contradict each other.
    """

    min_replicas: int = 0
    max_replicas: int = 10
    concurrency: int = 5
    """Tasks a worker runs at once, as long as no live worker tells."""
    queues: tuple[str, ...] = ()
    """The queues that count; empty: all."""
    drain_seconds: float = 30.0
    """Within how long a backlog is to be worked off."""
    tasks_per_replica: int | None = None
    """Size by this plain ratio, not by the drain time."""
    stabilization_seconds: float = 60.0
    """A smaller size is taken when none larger was wanted for so long."""
    cooldown_seconds: float = 120.0
    """The last worker goes when there was no work for so long."""
    fallback_replicas: int | None = None
    """While the stats are away: at least so many."""
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas:
            raise ValueError(
                f"min_replicas ({self.min_replicas}) must be at least 0 and at most max_replicas"
                f" ({self.max_replicas})"
            )
        if self.concurrency < 1 or self.drain_seconds <= 0 or (self.tasks_per_replica or 1) < 1:
            raise ValueError("concurrency, drain_seconds and tasks_per_replica must be above 0")


@dataclass(frozen=True, kw_only=True)
class Queue:
    """One queue, as in the stats reply and by its names."""

    queue_length: int = 0
    queue_length_retries: int = 0
    running: int = 0
    due_soon: int = 0
    arrivals_per_minute: float = 0.0
    completions_per_minute: float = 0.0
    retries_per_minute: float = 0.0
    crashes_per_minute: float = 0.0
    service_seconds_mean: float | None = None
    arrivals_total: int = 0
    completions_total: int = 0
    failures_total: int = 0
    retries_total: int = 0
    crashes_total: int = 0
    service_seconds_total: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One live worker, as in the stats reply and by its names."""

    id: str
    pod: str | None
    concurrency: int
    busy_slots: int = 0
    draining: bool = False
    drained: bool = False
    expected_free_seconds: float | None = None
    """When all its tasks should have ended; None: nobody can tell."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A stats reply that was complete."""

    at: float
    epoch: str
    queues: Mapping[str, Queue]
    workers: tuple[Worker, ...]


class Reason(StrEnum):
    """Why a decision is as it is: a code, as conditions and events carry it."""

    DRAIN_TIME = "DrainTime"
    """So many work off the backlog in time and keep up with arrivals."""
    WORK_AT_HAND = "WorkAtHand"
    """More would have nothing to do."""
    TASKS_PER_REPLICA = "TasksPerReplica"
    RETRIES_ONLY = "RetriesOnly"
    """Nothing but retries waits, and they outnumber completions: one worker for them."""
    NO_WORK = "NoWork"
    STABILIZING = "Stabilizing"
    """Fewer would do; the stabilization window is not over."""
    COOLING_DOWN = "CoolingDown"
    """None is needed; the cooldown is not over."""
    STATS_UNAVAILABLE = "StatsUnavailable"
    STATS_DISABLED = "StatsDisabled"
    STATS_INVALID = "StatsInvalid"
    STATS_STALE = "StatsStale"
    ROLLING_OUT = "RollingOut"
    """A smaller size waits for the rollout's end."""
    NOT_REGISTERED = "NotRegistered"
    """A smaller size waits: pods run whose workers are not in the stats."""
    BUSY_NOT_READY = "BusyNotReady"
    """A smaller size waits: a busy worker that is not ready would be taken first."""
    PAUSED = "Paused"
    CONFLICT = "Conflict"


@dataclass(frozen=True)
class Unread:
    """That there is no reading, and why: one of the STATS_ reasons and a sentence."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Pod:
    """A pod that its ReplicaSet counts: neither being deleted, nor failed, nor succeeded."""

    name: str
    started: bool
    """Its worker's container runs. One without can hold no task, and goes before any that has."""
    ready: bool = True
    """Before deletion costs are looked at, a ReplicaSet takes pods that are not ready."""
    started_at: float | None = None
    """Since when its container runs, or a node makes it; None: no node has it, or it cannot run."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """All that is known at one moment."""

    reading: Reading | Unread
    at: float
    replicas: int
    """The Deployment's `spec.replicas`."""
    pods: tuple[Pod, ...]
    rolling_out: bool = False
    paused: bool = False
    conflict: str | None = None
    """Who else scales the Deployment, as "HorizontalPodAutoscaler/name"."""


@dataclass(frozen=True, kw_only=True)
class QueueRates:
    """What is known of a queue's load."""

    attempts_per_second: float
    """Arrivals of attempts: first ones, retries, and tasks whose worker was lost."""
    first_attempts_per_second: float
    service_seconds: float | None
    """Mean time that an attempt holds a slot; None: nothing has ended yet."""


@dataclass(frozen=True)
class Load:
    """What the queues ask for, before bounds, window and cooldown."""

    demand: int
    """Queued + running + due soon."""
    wanted: int
    """Workers."""
    kept: int
    """The same for a little more load: what shrinking is measured by."""
    reason: Reason
    message: str
    rates: Mapping[str, QueueRates]


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """Who is to drain for a target, and what may be written. The fields are a Decision's."""

    written: int
    drain: tuple[str, ...]
    undrain: tuple[str, ...]
    deletion_costs: Mapping[str, int]
    kept: tuple[Reason, str] | None
    """Why more are kept than the target, if it is not that workers still drain."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be done, and why."""

    target: int
    """So many workers are to claim tasks. Always within the bounds."""
    written: int
    """The Deployment's replicas: the target, or as many as have not acknowledged yet."""
    wanted: int
    """The target as it would be without window and cooldown."""
    act: bool
    """False while paused, in conflict or in a dry run: nothing is written and nobody marked."""
    drain: tuple[str, ...] = ()
    """The workers that are to be draining: mark those that are not, renew the others."""
    undrain: tuple[str, ...] = ()
    """The workers that are draining and shall not."""
    deletion_costs: Mapping[str, int] = field(default_factory=dict)
    """By pod, to be set before a smaller size is written; empty when it is not smaller."""
    reason: Reason
    message: str
    limited: str | None = None
    """A sentence when a bound holds the target, or draining workers keep the size above it."""
    stats_available: bool
    """False when there was no usable reading for some seconds."""
    unread: Unread | None = None
    """Why there was no usable reading; None: there was."""
    demand: int | None = None
    """Queued + running + due soon; None without a reading."""
    rates: Mapping[str, QueueRates] = field(default_factory=dict)

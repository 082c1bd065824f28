"""The states of a task, and the ends of attempts: once for the queue and the HTTP replies."""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """The guide's six states."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether a task in this state has ended (only `retry` leads on)."""
        return self in FINAL


FINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    """Its worker was lost, or stood still for longer than its lease."""
    HANDED_BACK = "handed_back"
    """It was handed back so often that it counts as a crash. Other hand-backs are not kept."""


class WhyCode(StrEnum):
    """Why a task is not running now, or that it is."""

    STARTS_AT = "starts-at"
    """Its start time has not come."""
    BACK_OFF = "back-off"
    """It failed, and is retried later."""
    PARKED = "parked"
    """It goes on later by itself: at a time, or when an item comes into its inbox."""
    WAITS_FOR_CHILD = "waits-for-child"
    """It goes on when a child has ended."""
    NO_WORKER = "no-worker"
    """No live worker serves its type."""
    SCALED_TO_ZERO = "scaled-to-zero"
    """The same, and the last worker of its type has ended as it was told to."""
    DRAINING = "draining"
    """All workers of its type are about to end."""
    SLOTS_FULL = "slots-full"
    """All slots of its type's workers are taken."""
    NEXT = "next"
    """A worker of its type has a free slot: it is claimed in a moment."""
    RUNNING = "running"
    ENDED = "ended"

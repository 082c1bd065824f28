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

"""The states of a task: one name each for the queue, the HTTP replies and their readers."""

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

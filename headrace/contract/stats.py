"""The API's replies about queues and workers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from headrace.contract.replies import Reply


class QueueReply(Reply):
    """One queue's numbers. `*_per_minute` covers the last 60 s, sliding."""

    queue_length: int
    """How many tasks a worker could claim now: waiting, due, and those of lost workers."""
    running: int
    delayed: int
    """Tasks that wait for a time: start times, back-offs, waiting workflows."""
    due_soon: int
    """Delayed tasks that are due within 30 s."""
    oldest_age_seconds: float | None
    """How long the oldest waiting task has waited; null: no task waits."""
    arrivals_per_minute: float
    completions_per_minute: float
    failures_per_minute: float
    retries_per_minute: float
    crashes_per_minute: float
    failure_rate: float | None
    """Failed ÷ ended in the last 60 s; null: no attempt ended."""
    service_seconds_mean: float | None
    """Mean run time of the last 60 s; null: nothing was measured."""
    queue_length_retries: int
    """How many of `queue_length` are not first attempts."""
    arrivals_total: int
    completions_total: int
    failures_total: int
    retries_total: int
    crashes_total: int
    service_seconds_total: float
    stalls_total: int
    """How often a worker that ran a task of this type stood still."""


class RunningReply(Reply):
    """A task that a worker runs now."""

    task_id: str
    type: str
    attempt: int
    started_at: datetime
    timed_out: bool
    """It ran out of time, but its thread cannot be killed and still takes the slot."""


class WorkerReply(Reply):
    """A worker as it registered, and what it does now."""

    id: str
    pod: str | None
    queues: list[str]
    concurrency: int
    """How many tasks it runs at once."""
    running: list[RunningReply]
    busy_slots: int
    draining: bool
    """It is marked, and claims no more tasks."""
    drained: bool
    """It is draining and has no task: it may be removed."""
    oldest_started_at: datetime | None
    expected_free_seconds: float | None
    """When it will probably be free, by the mean run times; null: unknown, because there is no mean
    yet or a task has run for longer than its type's mean."""
    host: str
    pid: int
    version: str
    started_at: datetime
    last_seen_at: datetime


class StatsReply(Reply):
    """The queues and workers at one moment, by Redis's own clock."""

    enabled: Literal[True] = True
    queues: dict[str, QueueReply]
    """By task type. The three built-in queues are always there."""
    available: Literal[True] = True
    at: datetime
    version: int
    epoch: str
    """Made when the queue first writes to a Redis. A new one means that the data was lost."""
    workers: list[WorkerReply]


class StatsDisabled(Reply):
    """The stats while the queue is switched off."""

    enabled: Literal[False] = False
    queues: dict[str, QueueReply] = Field(default={})


class StatsUnavailable(Reply):
    """The stats while Redis is away: never zeros."""

    enabled: Literal[True] = True
    available: Literal[False] = False


class MinuteReply(Reply):
    """What happened in one minute of one queue."""

    minute: datetime
    """Its first second."""
    arrivals: int
    completions: int
    failures: int
    retries: int
    crashes: int
    service_seconds: float
    """Run times of the attempts that ended, summed."""


class HistoryReply(Reply):
    """The last 60 minutes of each queue, the oldest first."""

    queues: dict[str, list[MinuteReply]]


class WorkersReply(Reply):
    """All registered workers."""

    workers: list[WorkerReply]


class DrainReply(Reply):
    """A worker was marked, or its mark was removed."""

    id: str
    draining: bool

"""One reading of the queue's stats, for tests of what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.taskqueue import (
    BOUNDS_SECONDS,
    Histogram,
    QueueStats,
    RunningTask,
    Stats,
    WorkerStatus,
)

AT = datetime(2026, 1, 1, 10, 0, 0, tzinfo=UTC)


def queue_stats(queue_length: int, oldest_age_seconds: float | None) -> QueueStats:
    return QueueStats(
        queue_length=queue_length,
        running=1,
        delayed=0,
        due_soon=0,
        oldest_age_seconds=oldest_age_seconds,
        arrivals_per_minute=1.0,
        completions_per_minute=1.0,
        failures_per_minute=0.0,
        retries_per_minute=0.0,
        crashes_per_minute=0.0,
        failure_rate=None,
        service_seconds_mean=None,
        queue_length_retries=0,
        arrivals_total=40,
        completions_total=30,
        failures_total=2,
        retries_total=5,
        crashes_total=1,
        service_seconds_total=12.5,
    )


_HISTOGRAM = Histogram([1, 2] + [0] * (len(BOUNDS_SECONDS) - 1), 1.5)

SOME_STATS = Stats(
    at=AT,
    version=1,
    epoch="e",
    queues={"workflow_execute": queue_stats(5, 2.0), "chat_process": queue_stats(0, None)},
    workers=[
        WorkerStatus(
            id="w",
            host="h",
            pod=None,
            pid=1,
            version="0.1.0",
            queues=["workflow_execute"],
            concurrency=5,
            started_at=AT,
            last_seen_at=AT,
            running=[
                RunningTask(id="t", type="workflow_execute", fence=1, attempt=1, started_at_ms=0)
            ],
            busy_slots=1,
            draining=False,
            drained=False,
            oldest_started_at=AT,
            expected_free_seconds=None,
        )
    ],
    waiting={"workflow_execute": _HISTOGRAM},
    run={"workflow_execute": _HISTOGRAM},
)

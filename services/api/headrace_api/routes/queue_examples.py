"""Examples for the OpenAPI document: the queues' numbers, and workers."""

from __future__ import annotations

from headrace import __version__
from headrace.contract import TASK_ID

QUEUE = {
    "queue_length": 5,
    "running": 2,
    "delayed": 0,
    "due_soon": 0,
    "oldest_age_seconds": 1.25,
    "arrivals_per_minute": 60.0,
    "completions_per_minute": 55.0,
    "failures_per_minute": 0.0,
    "retries_per_minute": 1.0,
    "crashes_per_minute": 0.0,
    "failure_rate": 0.0,
    "service_seconds_mean": 1.9,
    "queue_length_retries": 1,
    "arrivals_total": 1234,
    "completions_total": 1220,
    "failures_total": 3,
    "retries_total": 17,
    "crashes_total": 0,
    "service_seconds_total": 2318.5,
    "stalls_total": 0,
}
WORKER = {
    "id": "worker-7f9c-1-5d2e",
    "pod": None,
    "queues": ["workflow_execute"],
    "concurrency": 5,
    "running": [
        {
            "task_id": TASK_ID,
            "type": "workflow_execute",
            "attempt": 1,
            "started_at": "2026-01-01T10:00:01Z",
            "timed_out": False,
        }
    ],
    "busy_slots": 1,
    "draining": False,
    "drained": False,
    "oldest_started_at": "2026-01-01T10:00:01Z",
    "expected_free_seconds": 0.9,
    "host": "node-1",
    "pid": 1,
    "version": __version__,
    "started_at": "2026-01-01T09:00:00Z",
    "last_seen_at": "2026-01-01T10:00:02Z",
}
STATS = {
    "enabled": True,
    "queues": {
        name: QUEUE if name == "workflow_execute" else {**QUEUE, "queue_length": 0}
        for name in ("workflow_execute", "chat_process", "knowledge_search")
    },
    "available": True,
    "at": "2026-01-01T10:00:02Z",
    "version": 1,
    "epoch": "0b5d7c8e2f1a4f3b",
    "workers": [WORKER],
}
MINUTE = {
    "minute": "2026-01-01T10:00:00Z",
    "arrivals": 60,
    "completions": 55,
    "failures": 0,
    "retries": 1,
    "crashes": 0,
    "service_seconds": 104.5,
}

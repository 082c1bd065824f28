"""From the queue's record of a task to the reply's: once, for the API and for direct clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.contract import AttemptReply, Progress, TaskDetail, TaskSummary
from headrace.taskqueue import AttemptRecord, Task, TaskStatus


def task_detail(
    task: Task, live_workers: int | None, attempts: Sequence[AttemptRecord] | None
) -> TaskDetail:
    """A task's record, with what became of its attempts; None: that was not asked for."""
    replies = None
    if attempts is not None:
        replies = [
            AttemptReply.model_validate(msgspec.structs.asdict(attempt)) for attempt in attempts
        ]
    return TaskDetail.model_construct(attempts=replies, **task_fields(task, live_workers))


def task_summary(task: Task, live_workers: int | None) -> TaskSummary:
    """A task in a list."""
    fields = task_fields(task, live_workers)
    del fields["result"]
    return TaskSummary.model_construct(**fields)


def task_fields(task: Task, live_workers: int | None) -> dict[str, Any]:
    """The fields of a record, in their order in replies."""
    percent = 100.0 if task.status is TaskStatus.COMPLETED else task.progress_percent
    progress = None
    if percent is not None:
        progress = Progress(percent=percent, message=task.progress_message)
    fields = {
        "task_id": task.id,
        "type": task.type,
        "status": task.status,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "completed_at": task.completed_at,
        "result": None if task.result is None else msgspec.json.decode(task.result),
        "error": task.error,
        "retry_count": task.retry_count,
        "max_retries": task.max_retries,
        "attempt": task.attempt,
        "crash_count": task.crash_count,
        "due_at": task.due_at,
        "progress": progress,
        "worker": task.worker,
        "cancel_requested": task.cancel_requested,
        "live_workers": live_workers,
    }
    options = {"headers": task.headers, "tags": task.tags, "parent": task.parent}
    return fields | {name: option for name, option in options.items() if option}

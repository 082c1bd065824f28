"""Turns what the queue and the workflows say into replies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import BaseModel

from headrace.client.records import task_fields as task_fields
from headrace.client.records import task_summary as task_summary
from headrace.contract import (
    BrokenDefinition,
    MinuteReply,
    QueueReply,
    RunningReply,
    StatsReply,
    TaskReply,
    WorkerReply,
    WorkflowSummary,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.taskqueue import MinuteRates, QueueStats, Stats, Task, TaskPage, WorkerStatus
    from headrace.workflows import DefinitionError, Workflow
    from headrace_api.tasks.sight import Sight


def task_reply(task: Task, live_workers: int | None, sight: Sight) -> TaskReply:
    """A task's record, as far as whoever asks may see it."""
    return TaskReply.model_construct(**record_fields(task, live_workers, sight))


def task_page(page: TaskPage, live_workers: Callable[[str], int | None]) -> bytes:
    """A page of the list, as `TaskListReply` would be written: without its models it costs half."""
    items = [task_fields(task, live_workers(task.type)) for task in page.tasks]
    for fields in items:
        del fields["result"]
    reply = {
        "items": items,
        "scanned": page.scanned,
        "complete": page.complete,
        "next_cursor": page.cursor,
    }
    return msgspec.json.encode(reply, enc_hook=BaseModel.model_dump)


def record_fields(task: Task, live_workers: int | None, sight: Sight) -> dict[str, Any]:
    """The fields of a record, as far as whoever asks may see them."""
    return task_fields(task, live_workers) | sight.of_result(task)


def execution(task: Task) -> Literal["inline", "queue"]:
    """Where a task ran. A run inside a request has no worker."""
    return "inline" if task.worker is None else "queue"


def workflow_summary(workflow: Workflow) -> WorkflowSummary:
    """A definition as the list shows it."""
    return WorkflowSummary(
        workflow_id=workflow.id,
        version=workflow.version,
        title=workflow.title,
        sha256=workflow.definition_sha256,
    )


def broken_definition(error: DefinitionError) -> BrokenDefinition:
    """One mistake in a definition's file."""
    return BrokenDefinition(
        file=error.file,
        line=error.line,
        column=error.column,
        task=error.task,
        reason=error.reason,
    )


def stats_reply(stats: Stats, names: tuple[str, ...]) -> StatsReply:
    """A reading of the queues and workers: the queues of these names first, the others by name."""
    queues = {name: queue_reply(queue) for name, queue in stats.queues.items()}
    first = [name for name in names if name in queues]
    return StatsReply(
        queues={name: queues[name] for name in [*first, *sorted(queues.keys() - set(first))]},
        at=stats.at,
        version=stats.version,
        epoch=stats.epoch,
        workers=[worker_reply(worker) for worker in stats.workers],
    )


def queue_reply(stats: QueueStats) -> QueueReply:
    """The queue's own numbers under the same names."""
    return QueueReply.model_validate(msgspec.structs.asdict(stats))


def minute_reply(rates: MinuteRates) -> MinuteReply:
    """The queue's own counts of a minute under the same names."""
    return MinuteReply.model_validate(msgspec.structs.asdict(rates))


def worker_reply(worker: WorkerStatus) -> WorkerReply:
    """A registered worker."""
    running = [
        RunningReply(
            task_id=task.id,
            type=task.type,
            attempt=task.attempt,
            started_at=datetime.fromtimestamp(task.started_at_ms / 1000, UTC),
            timed_out=task.timed_out,
        )
        for task in worker.running
    ]
    fields = {name: getattr(worker, name) for name in WorkerReply.model_fields if name != "running"}
    return WorkerReply(running=running, **fields)

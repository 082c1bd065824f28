"""Replies: the guide's fields first, in its order, and nothing of the queue's left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from headrace.contract import (
    MinuteReply,
    QueueReply,
    TaskListReply,
    TaskReply,
    WorkerReply,
    WorkflowExecuted,
    WorkflowSubmitted,
)
from headrace.taskqueue import MinuteRates, QueueStats, Task, TaskPage, TaskStatus, WorkerStatus
from headrace_api.tasks.replies import (
    execution,
    task_fields,
    task_page,
    task_reply,
    task_summary,
)
from headrace_api.tasks.sight import Sight

MANAGER = Sight(manager=True, hides=True, key_name="")

GUIDE = [
    *("task_id", "type", "status", "created_at", "started_at", "completed_at"),
    *("result", "error", "retry_count", "max_retries"),
]

TASK = Task(
    id="550e8400-e29b-41d4-a716-446655440000",
    type="workflow_execute",
    status=TaskStatus.COMPLETED,
    created_at=datetime(2024, 1, 1, 10, 0, 0, tzinfo=UTC),
    started_at=datetime(2024, 1, 1, 10, 0, 1, 500_000, tzinfo=UTC),
    completed_at=datetime(2024, 1, 1, 10, 0, 5, tzinfo=UTC),
    result=b'{"variables": {"big": 12345678901234567890, "list": [], "text": "\xe4\xbd\xa0"}}',
)


def test_a_record_begins_with_the_guides_fields_in_order() -> None:
    assert list(json.loads(task_reply(TASK, 2, MANAGER).model_dump_json()))[: len(GUIDE)] == GUIDE


def test_times_are_utc_with_z() -> None:
    reply = json.loads(task_reply(TASK, 2, MANAGER).model_dump_json())
    assert reply["created_at"] == "2024-01-01T10:00:00Z"
    assert datetime.fromisoformat(reply["started_at"]) == TASK.started_at
    assert reply["started_at"].endswith("Z")


def test_a_result_comes_out_as_it_was_stored() -> None:
    assert TASK.result is not None
    assert json.loads(task_reply(TASK, 2, MANAGER).model_dump_json())["result"] == json.loads(
        TASK.result
    )


def test_an_executed_workflow_has_the_guides_four_fields_and_then_the_records() -> None:
    task = msgspec.structs.replace(
        TASK, headers={"tenant": "acme"}, tags=("nightly",), parent=TASK.id
    )
    reply = WorkflowExecuted(
        message="…",
        workflow_id="w",
        execution=execution(task),
        stored=True,
        **task_fields(task, 2),
    )
    fields = list(json.loads(reply.model_dump_json()))
    submitted = list(WorkflowSubmitted.model_fields)
    assert submitted == ["task_id", "status", "message", "workflow_id", "live_workers"]
    rest = [name for name in TaskReply.model_fields if name not in (*submitted, "hidden")]
    assert fields == [*submitted, *rest, "execution", "stored"]


def test_a_page_is_written_as_its_model_would_be() -> None:
    more = {"headers": {"tenant": "acme"}, "tags": ("nightly",), "parent": TASK.id}
    failed = {"status": TaskStatus.FAILED, "error": "ValueError: \u4f60", "worker": "w"}
    tasks = [TASK, msgspec.structs.replace(TASK, **more, **failed, progress_percent=12.5)]
    page = TaskPage(tasks=tasks, scanned=2, complete=True, cursor="abc")
    written = task_page(page, lambda _: 2)
    model = TaskListReply(
        items=[task_summary(task, 2) for task in tasks],
        scanned=2,
        complete=True,
        next_cursor="abc",
    )
    assert written.decode() == model.model_dump_json()


@pytest.mark.parametrize(
    ("status", "percent", "shown"),
    [
        (TaskStatus.COMPLETED, 66.0, 100.0),
        (TaskStatus.COMPLETED, None, 100.0),
        (TaskStatus.FAILED, 66.0, 66.0),
        (TaskStatus.RUNNING, 66.0, 66.0),
    ],
)
def test_what_is_completed_is_done_to_the_last_percent(
    status: TaskStatus, percent: float | None, shown: float
) -> None:
    task = msgspec.structs.replace(TASK, status=status, progress_percent=percent)
    assert task_fields(task, 2)["progress"].percent == shown


def test_stats_leave_nothing_of_the_queues_numbers_out() -> None:
    assert next(iter(QueueReply.model_fields)) == "queue_length"
    assert set(QueueReply.model_fields) == set(QueueStats.__struct_fields__)
    assert set(WorkerReply.model_fields) == set(WorkerStatus.__struct_fields__)
    assert set(MinuteReply.model_fields) == set(MinuteRates.__struct_fields__)

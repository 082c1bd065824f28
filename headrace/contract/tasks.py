"""What the API replies of tasks and workflows: the guide's fields first and in its order."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from headrace.taskqueue import TaskStatus

if TYPE_CHECKING:
    from headrace.taskqueue import Task
    from headrace.workflows import Workflow

TASK_ID = "550e8400-e29b-41d4-a716-446655440000"
"""The task id of the guide's examples."""
_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def is_task_id(text: str) -> bool:
    """Whether it has the form of a task's id: a UUID as it is usually written."""
    return _TASK_ID.fullmatch(text) is not None


class Reply(BaseModel):
    """What all replies share: docstrings of fields become their descriptions."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)


LiveWorkerCount = Annotated[
    int | None,
    Field(
        description="How many live workers serve its queue, as of a second ago; one that drains "
        "does not. 0: it waits until one starts. Null: not known, for Redis is away."
    ),
]


class Progress(Reply):
    """How far a task is, as its handler said last."""

    percent: float
    """0 to 100; 100 once it is completed."""
    message: str | None


class TaskReply(Reply):
    """A task's record."""

    task_id: str
    type: str
    status: TaskStatus
    created_at: datetime
    started_at: datetime | None
    """When its last attempt started (of a workflow that waited: its first part)."""
    completed_at: datetime | None
    """When it reached a final state."""
    result: Any
    """What its handler returned; null until it is completed."""
    error: str | None
    """The last failure's type and message."""
    retry_count: int
    """Failures so far."""
    max_retries: int
    attempt: int
    """The attempt that runs, ran last, or comes first: from 1."""
    crash_count: int
    """How often a worker died with it."""
    due_at: datetime | None
    """When a pending task enters its queue."""
    progress: Progress | None
    worker: str | None
    """The worker that runs it, or ran it last."""
    cancel_requested: bool
    """Whether a running task was asked to stop."""
    live_workers: LiveWorkerCount

    @classmethod
    def of(cls, task: Task, live_workers: int | None) -> TaskReply:
        """A record as the API shows it."""
        return cls.model_construct(**task_fields(task, live_workers))


def task_fields(task: Task, live_workers: int | None) -> dict[str, Any]:
    """The fields of a record, in their order in replies."""
    percent = 100.0 if task.status is TaskStatus.COMPLETED else task.progress_percent
    progress = None
    if percent is not None:
        progress = Progress(percent=percent, message=task.progress_message)
    return {
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


class InlineReply(TaskReply):
    """The record of a task that ran inside the request."""

    execution: Literal["inline", "queue"]
    """`queue` only for a repeated idempotency key whose first request went through the queue."""
    stored: bool
    """Whether the record can be read later. It cannot after a run made without Redis."""


def execution(task: Task) -> Literal["inline", "queue"]:
    """Where a task ran. A run inside a request has no worker."""
    return "inline" if task.worker is None else "queue"


class WorkflowSubmitted(Reply):
    """A workflow was taken into its queue: the guide's four fields."""

    task_id: str = Field(examples=[TASK_ID])
    status: TaskStatus
    message: str
    """Chinese as in the guide; English when `Accept-Language` prefers it."""
    workflow_id: str
    live_workers: LiveWorkerCount


class WorkflowExecuted(InlineReply, WorkflowSubmitted):
    """A workflow ran inside the request: the guide's four fields, then the record's."""


class TaskSubmitted(Reply):
    """A task was taken into its queue."""

    task_id: str = Field(examples=[TASK_ID])
    type: str
    status: TaskStatus
    live_workers: LiveWorkerCount


class BatchSubmitted(Reply):
    """All tasks of a batch were taken into their queue, in the order of the request."""

    tasks: list[TaskSubmitted]


class CancelReply(Reply):
    """What a cancel led to."""

    task_id: str
    status: TaskStatus
    """`cancelled`; or `running` when a running task was asked to stop."""
    message: str


class RetryReply(Reply):
    """What a retry led to."""

    task_id: str
    status: TaskStatus
    message: str


class TaskPage(Reply):
    """A page of records, the newest first."""

    items: list[TaskReply]
    offset: int
    limit: int
    next_offset: int | None
    """The next page's offset; null: this is the last page."""


class TaskTypeReply(Reply):
    """A task type: what its payload must be, and what holds for a task that says nothing else."""

    name: str
    """Also the name of its queue."""
    payload_schema: dict[str, Any]
    """The payload's JSON Schema (draft 2020-12)."""
    max_retries: int
    """Retries after a failure."""
    timeout_seconds: float | None
    """How long one attempt may take; null: for ever."""
    version: str
    """Of the package that brings it."""
    live_workers: LiveWorkerCount
    runs_inline: bool
    """Whether this API can run one inside a request, while Redis is away."""


class TaskTypesReply(Reply):
    """All task types that a worker has ever published, or that this API can run itself."""

    task_types: list[TaskTypeReply]


class WorkflowSummary(Reply):
    """A workflow in the list."""

    workflow_id: str
    version: str
    title: str | None
    sha256: str
    """Of its checked text: what a submit pins."""

    @classmethod
    def of(cls, workflow: Workflow) -> WorkflowSummary:
        """A definition as the list shows it."""
        return WorkflowSummary(
            workflow_id=workflow.id,
            version=workflow.version,
            title=workflow.title,
            sha256=workflow.sha256,
        )


class WorkflowDetail(WorkflowSummary):
    """A workflow with its definition."""

    definition: str
    """The text of its file."""


class BrokenDefinition(Reply):
    """A definition file that cannot be used."""

    file: str
    line: int | None
    task: str | None
    """Where in the definition; null: not within a task."""
    reason: str


class WorkflowsReply(Reply):
    """All workflows that can be executed, and the files that could not be loaded."""

    workflows: list[WorkflowSummary]
    errors: list[BrokenDefinition]


class HealthReply(Reply):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ReadyReply(Reply):
    """Whether requests should be sent here."""

    status: Literal["ready", "starting", "stopping"]
    redis: Literal["available", "unavailable", "unsuitable", "unknown", "disabled"]
    """`unsuitable`: it answers and cannot be used, for a newer Headrace has written to it, say.
    Never turns a ready API to 503: without Redis, workflows run inside the request."""


class ErrorItem(Reply):
    """One thing that is wrong with a request."""

    detail: str
    pointer: str | None = None
    """Where in the body, as a JSON pointer; absent for a parameter."""
    parameter: str | None = None
    """The query parameter or header; absent for a place in the body."""


class ProblemReply(Reply):
    """An error (RFC 9457). Some types add members of their own, such as `task_id`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:headrace:problem:task-not-found"])
    """Stable: clients may branch on it."""
    title: str
    status: int
    detail: str
    instance: str
    """The request's path."""
    request_id: str
    """The same as in the header `X-Request-ID`, and in the logs."""
    errors: list[ErrorItem] | None = None
    """What is wrong with the request, each with its place."""

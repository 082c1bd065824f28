"""What can be asked of the API alone: each a request, and the model of its reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import msgspec

from headrace.client.steps import HttpRequest
from headrace.contract import (
    BulkDetail,
    BulkDryRun,
    BulkPage,
    BulkReply,
    DrainReply,
    EditReply,
    HistoryReply,
    Reply,
    StatsReply,
    TaskCountsReply,
    TaskListReply,
    TaskTypesReply,
    WhyReply,
    WorkersReply,
    WorkflowDetail,
    WorkflowsReply,
)
from headrace.hints import did_you_mean
from headrace.status import TaskStatus

R = TypeVar("R", bound=Reply)

BulkAction = Literal["retry", "cancel", "delete", "run-now"]


class TaskFilters(TypedDict, total=False):
    """Which tasks are meant: those that fit all that is given. As in `GET /api/tasks`.

    type: a task type's name.
    status: a status.
    ended_after, ended_before: when it has ended.
    created_after, created_before: when it was submitted.
    tag: one of its tags.
    q: a text in the payload's JSON.
    error: a text in the last error.
    worker: what this worker runs.
    """

    type: str | None
    status: TaskStatus | str | None
    ended_after: datetime | None
    ended_before: datetime | None
    created_after: datetime | None
    created_before: datetime | None
    tag: str | None
    q: str | None
    error: str | None
    worker: str | None


class TaskChanges(TypedDict, total=False):
    """What can be changed of a task that is pending or queued; what is absent stays as it is."""

    start_at: datetime
    start_in: float | timedelta
    max_retries: int
    tags: Sequence[str]


@dataclass(frozen=True)
class Ask(Generic[R]):
    """A request, and the model of its reply."""

    request: HttpRequest
    model: type[R]


def check_names(given: Mapping[str, object], allowed: type, what: str) -> None:
    """Raise TypeError for what is no field of a TypedDict: it would silently do nothing."""
    for name in given:
        if name not in allowed.__annotations__:
            names = ", ".join(allowed.__annotations__)
            raise TypeError(
                f"{what} takes no {name}: it takes {names}"
                + did_you_mean(name, allowed.__annotations__)
            )


def at(*parts: str) -> str:
    """The address of a resource."""
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


def filter_fields(filters: TaskFilters) -> dict[str, Any]:
    """Filters as a query or a body has them.

    Raises TypeError for an unknown filter, ValueError for a time without a time zone.
    """
    check_names(filters, TaskFilters, "the list")
    found = {name: value for name, value in filters.items() if value is not None}
    for name, value in found.items():
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"{name}={value.isoformat()} has no time zone: give one, as UTC")
            found[name] = value.astimezone(UTC).isoformat()
    return {name: str(value) for name, value in found.items()}


def tasks(filters: TaskFilters, cursor: str | None, limit: int) -> Ask[TaskListReply]:
    """A page of the list."""
    query = {**filter_fields(filters), "limit": limit}
    if cursor is not None:
        query["cursor"] = cursor
    return _get(TaskListReply, at("tasks"), query)


def counts() -> Ask[TaskCountsReply]:
    """How many tasks are in each status, by type."""
    return _get(TaskCountsReply, at("tasks", "counts"))


def why(task_id: str) -> Ask[WhyReply]:
    """Why a task waits."""
    return _get(WhyReply, at("tasks", task_id, "why"))


def edit(task_id: str, changes: TaskChanges) -> Ask[EditReply]:
    """Change a task before it begins. Raises ValueError for a time without a time zone."""
    start_at, start_in = changes.get("start_at"), changes.get("start_in")
    if start_at is not None and start_at.tzinfo is None:
        raise ValueError(f"start_at={start_at.isoformat()} has no time zone: give one, as UTC")
    if isinstance(start_in, timedelta):
        changes = {**changes, "start_in": start_in.total_seconds()}
    return Ask(
        HttpRequest("PATCH", at("tasks", task_id), body=msgspec.json.encode(changes)), EditReply
    )


def stats() -> Ask[StatsReply]:
    """The queues and the workers."""
    return _get(StatsReply, at("workflows", "queue", "stats"))


def history(task_type: str | None) -> Ask[HistoryReply]:
    """The last 60 minutes."""
    query = {} if task_type is None else {"type": task_type}
    return _get(HistoryReply, at("workflows", "queue", "history"), query)


def workers() -> Ask[WorkersReply]:
    """The live workers."""
    return _get(WorkersReply, at("workers"))


def mark_worker(worker_id: str, mark: Literal["drain", "undrain"]) -> Ask[DrainReply]:
    """Mark a worker, or take its mark away."""
    return _post(DrainReply, at("workers", worker_id, mark))


def workflows() -> Ask[WorkflowsReply]:
    """All workflows."""
    return _get(WorkflowsReply, at("workflows"))


def workflow(workflow_id: str) -> Ask[WorkflowDetail]:
    """One workflow, with its definition."""
    return _get(WorkflowDetail, at("workflows", workflow_id))


def task_types() -> Ask[TaskTypesReply]:
    """All task types."""
    return _get(TaskTypesReply, at("task-types"))


def bulk_dry_run(action: BulkAction, filters: TaskFilters) -> Ask[BulkDryRun]:
    """What a bulk operation would be for now."""
    body = {"action": action, "filter": filter_fields(filters)}
    query = {"dry_run": "true"}
    return _post(BulkDryRun, at("bulk"), query, body)


def bulk_start(action: BulkAction, filters: TaskFilters, name: str) -> Ask[BulkReply]:
    """Start a bulk operation: once, however often it has to be sent."""
    from headrace.taskqueue import new_id  # here, for it brings all that speaks to Redis

    body = {"action": action, "filter": filter_fields(filters), "name": name}
    headers = {"Idempotency-Key": new_id()}
    return _post(BulkReply, at("bulk"), {}, body, headers)


def bulk_get(bulk_id: str) -> Ask[BulkDetail]:
    """A bulk operation, with its failures."""
    return _get(BulkDetail, at("bulk", bulk_id))


def bulk_list(limit: int) -> Ask[BulkPage]:
    """The newest bulk operations."""
    return _get(BulkPage, at("bulk"), {"limit": limit})


def bulk_mark(bulk_id: str, mark: Literal["stop", "resume"]) -> Ask[BulkReply]:
    """Stop a bulk operation, or let it go on."""
    return _post(BulkReply, at("bulk", bulk_id, mark))


def _get(model: type[R], path: str, query: Mapping[str, Any] | None = None) -> Ask[R]:
    return Ask(HttpRequest("GET", path, query or {}), model)


def _post(
    model: type[R],
    path: str,
    query: Mapping[str, Any] | None = None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Ask[R]:
    content = None if body is None else msgspec.json.encode(body)
    return Ask(HttpRequest("POST", path, query or {}, content, headers or {}), model)

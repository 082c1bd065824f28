"""The API's replies about tasks and task types: the guide's fields first and in its order."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from operator import is_, not_
from typing import Any, Literal

from pydantic import Field

from headrace import limits
from headrace.contract.replies import TASK_ID, LiveWorkerCount, Reply
from headrace.status import AttemptOutcome, TaskStatus, WhyCode


def is_task_id(text: str) -> bool:
    """Whether it has the form of a task's id: a UUID as it is usually written."""
    return re.fullmatch(limits.TASK_ID, text, re.IGNORECASE) is not None


class Progress(Reply):
    """How far a task is, as its handler last reported."""

    percent: float
    """0 to 100; 100 once it is completed."""
    message: str | None


class AttemptReply(Reply):
    """An attempt of a task that did not simply succeed at its first one."""

    number: int
    """From 1; after a retry by hand, from 1 again."""
    outcome: AttemptOutcome
    worker: str
    worker_version: str | None
    """Null: not known, for its worker had gone, or is of 0.2.0."""
    started_at: datetime
    ended_at: datetime
    error: str | None
    error_type: str | None
    """The error's class."""
    traceback: str | None
    """At most 8 KiB, without values of variables."""


class _Begin(Reply):
    task_id: str
    type: str
    status: TaskStatus
    created_at: datetime
    started_at: datetime | None
    """When its last attempt started. For a workflow that waited: when its first part started."""
    completed_at: datetime | None
    """When it reached a final state."""


class _Result(Reply):
    result: Any
    """What its handler returned; null until it is completed. For a key that neither submitted the
    task nor may manage tasks, values whose names tell of a secret are replaced by `[redacted]`, and
    with `HIDE_PAYLOADS` the result is `hidden`."""


class _Rest(Reply):
    error: str | None
    """The last failure's type and message."""
    retry_count: int
    """Failures so far."""
    max_retries: int
    attempt: int
    """The number of the attempt that runs or ran last, from 1."""
    crash_count: int
    """How many workers were lost while they ran it."""
    due_at: datetime | None
    """When a pending task enters its queue."""
    progress: Progress | None
    worker: str | None
    """The worker that runs it, or ran it last."""
    cancel_requested: bool
    """Whether a running task was asked to stop."""
    live_workers: LiveWorkerCount
    headers: dict[str, str] = Field(default={}, exclude_if=not_)
    """Its headers, the API's own among them; absent: it has none."""
    tags: tuple[str, ...] = Field(default=(), exclude_if=not_)
    """What it can be found by; absent: it has none."""
    parent: str | None = Field(default=None, exclude_if=partial(is_, None))
    """The id of the task that submitted it as its child and waits for it; absent: none did."""


class TaskSummary(_Rest, _Begin):
    """A task in a list: its record without the result."""


class TaskReply(_Rest, _Result, _Begin):
    """A task's record."""

    hidden: tuple[str, ...] = Field(default=(), exclude_if=not_)
    """What of it is not for this API key (`HIDE_PAYLOADS`): `result`, `workflow`. A hidden result
    is null. Absent: nothing is hidden."""


class RunStart(Reply):
    """What a workflow's run was started with."""

    workflow_id: str
    version: str | None
    """Null: the folder of workflows holds its definition no more."""
    variables: Any
    """Values whose names tell of a secret are replaced by `[redacted]`."""


class KeptState(Reply):
    """What a run kept to go on from."""

    bytes: int
    value: Any = Field(default=None, exclude_if=partial(is_, None))
    """The state itself, if it is JSON and has at most 1 MiB; otherwise absent."""


class TaskDetail(TaskReply):
    """A task's record, with what was asked for besides."""

    attempts: list[AttemptReply] | None = Field(default=None, exclude_if=partial(is_, None))
    """With `?include=attempts`: the last 20 attempts that have ended, the oldest first; empty for a
    task that succeeded at its first one. Otherwise absent."""
    payload: Any = Field(default=None, exclude_if=partial(is_, None))
    """With `?include=payload`: what was submitted. Values whose names tell of a secret are replaced
    by `[redacted]`."""
    state: KeptState | None = Field(default=None, exclude_if=partial(is_, None))
    """With `?include=state`: what its run kept to go on from; absent if it keeps nothing."""
    workflow: RunStart | None = Field(default=None, exclude_if=partial(is_, None))
    """Of a workflow's run; otherwise absent."""


class InlineReply(TaskReply):
    """The record of a task that ran inside the request."""

    execution: Literal["inline", "queue"]
    """`queue` only if an earlier request with the same key went through the queue."""
    stored: bool
    """Whether you can read the record later. You cannot if Redis was away."""


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
    """The result of a cancel."""

    task_id: str
    status: TaskStatus
    """`cancelled`; or `running` when a running task was asked to stop."""
    message: str


class RetryReply(Reply):
    """The result of a retry."""

    task_id: str
    status: TaskStatus
    message: str


class WaitReply(Reply):
    """Which of the tasks that were waited for have ended."""

    tasks: list[TaskReply]
    """The records of those that have ended, in the order of the request. Once the results have
    4 MiB together, no further record is added."""
    left: list[str]
    """What to ask for again: tasks that have not ended, and those whose records did not fit."""
    not_found: list[str]
    """There is no such task, or its record is kept no more."""


class TaskPage(Reply):
    """A page of records, the newest first."""

    items: list[TaskReply]
    offset: int
    limit: int
    next_offset: int | None
    """The next page's offset; null: this is the last page."""


class TaskListReply(Reply):
    """A page of the list of tasks."""

    items: list[TaskSummary]
    scanned: int
    """How many tasks were looked at."""
    complete: bool
    """False: the search has stopped after 10,000 tasks, and this page is not full. It goes on from
    `next_cursor`."""
    next_cursor: str | None
    """Where the next page begins: send it as `cursor`. Null: this is the last page."""


class CountsReply(Reply):
    """How many tasks of a type are in each state."""

    queued: int
    running: int
    pending: int
    completed: int
    failed: int
    cancelled: int
    capped: bool
    """There are more ended tasks whose records are kept: the oldest are in no list any more."""


class TaskCountsReply(Reply):
    """How many tasks are in each state, by type."""

    counts: dict[str, CountsReply]


class WhyReply(Reply):
    """Why a task waits."""

    task_id: str
    status: TaskStatus
    code: WhyCode
    text: str
    """The same in words, and what to do."""
    position: int | None
    """Its place among the waiting tasks of its type, from 1; null: it stands in no list."""
    position_is_exact: bool
    """False: it is behind the 10,000th, and the position is an estimate."""
    until: datetime | None
    """When it goes on by itself."""
    live_workers: int
    """How many live workers serve its type."""
    last_worker: str | None
    """If none does now: who served it last, as far as that is known."""
    last_worker_at: datetime | None


class EditReply(Reply):
    """A task was changed."""

    task_id: str
    status: TaskStatus


class RunNowReply(Reply):
    """A pending task was queued before its time."""

    task_id: str
    status: TaskStatus


class TaskTypeReply(Reply):
    """A task type: the schema of its payload, and the defaults of its tasks."""

    name: str
    """Also the name of its queue."""
    payload_schema: dict[str, Any]
    """The payload's JSON Schema (draft 2020-12)."""
    max_retries: int
    """Retries after a failure."""
    timeout_seconds: float | None
    """How long one attempt may take; null: no limit."""
    version: str
    """The version of the package that has it."""
    live_workers: LiveWorkerCount
    runs_inline: bool
    """Whether this API can run such a task inside a request while Redis is away."""


class TaskTypesReply(Reply):
    """All task types that a worker has ever published, or that this API can run itself."""

    task_types: list[TaskTypeReply]

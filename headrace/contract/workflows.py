"""The API's replies about workflows: the guide's fields first and in its order."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from headrace.contract.replies import TASK_ID, LiveWorkerCount, Reply
from headrace.contract.tasks import InlineReply
from headrace.status import TaskStatus


class WorkflowSubmitted(Reply):
    """A workflow was taken into its queue: the guide's four fields."""

    task_id: str = Field(examples=[TASK_ID])
    status: TaskStatus
    message: str
    """In Chinese as in the guide; in English if `Accept-Language` prefers that."""
    workflow_id: str
    live_workers: LiveWorkerCount


class WorkflowExecuted(InlineReply, WorkflowSubmitted):
    """A workflow ran inside the request: the guide's four fields, then the record's."""


class WorkflowSummary(Reply):
    """A workflow in the list."""

    workflow_id: str
    version: str
    title: str | None
    sha256: str
    """The SHA-256 of its definition: a submit is pinned to it."""


class BrokenDefinition(Reply):
    """One thing that is wrong with a definition file, which therefore cannot be used."""

    file: str
    line: int | None
    column: int | None = None
    task: str | None
    """The place in the definition; null: not in a task."""
    reason: str


class WorkflowDetail(WorkflowSummary):
    """A workflow with its definition."""

    definition: str
    """The text of its file."""
    input_schema: dict[str, Any] | bool | None
    """The JSON Schema that the `variables` of an execution must fit; null: any fit."""
    versions: list[str]
    """All its versions that can be executed or asked for, the latest first."""
    errors: list[BrokenDefinition]
    """What is wrong with other files of this workflow, which therefore cannot be used."""


class WorkflowsReply(Reply):
    """All workflows that can be executed, and the files that could not be loaded."""

    workflows: list[WorkflowSummary]
    errors: list[BrokenDefinition]

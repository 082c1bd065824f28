"""The API's replies about bulk operations: one action for many tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from headrace.contract.replies import Reply
from headrace.contract.tasks import TaskSummary


class BulkFailureReply(Reply):
    """A task for which the action was refused."""

    task_id: str
    reason: str
    """As in `reasons`."""


class BulkReply(Reply):
    """A bulk operation."""

    bulk_id: str
    action: Literal["retry", "cancel", "delete", "run-now"]
    name: str
    filter: dict[str, Any]
    """As it was sent."""
    status: Literal["collecting", "running", "stopped", "completed"]
    """`collecting`: its matches are looked for. Nothing is done before all are found."""
    created_at: datetime
    """Tasks that ended, or were submitted, later than this are no matches."""
    ended_at: datetime | None
    by: str
    """The name of the API key that started it; empty: none."""
    total: int
    """How many tasks match; while it is collecting, how many were found."""
    done: int
    failed: int
    """For how many tasks the action was refused."""
    reasons: dict[str, int] = Field(examples=[{"not-allowed": 2}])
    """How many were refused for which reason: the problem type that the single action has."""


class BulkDetail(BulkReply):
    """A bulk operation, with its failures."""

    failures: list[BulkFailureReply]
    """The first 100."""


class BulkPage(Reply):
    """The bulk operations, the newest first."""

    bulk: list[BulkReply]


class BulkDryRun(Reply):
    """What a bulk operation would be for now. Nothing was done."""

    count: int
    complete: bool
    """False: there are more, for counting took too long."""
    samples: list[TaskSummary]
    """Three of the tasks, without their results."""

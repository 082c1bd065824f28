"""What the API's live streams send, beside records and stats."""

from __future__ import annotations

from headrace.contract.replies import Reply
from headrace.status import TaskStatus


class TaskEnd(Reply):
    """A task has ended."""

    task_id: str
    type: str
    status: TaskStatus


class EndsEvent(Reply):
    """The ends of a second. Of the event `ends`."""

    ends: list[TaskEnd]
    more: int
    """How many tasks more have ended, of whatever type and status."""


class GapEvent(Reply):
    """Some ends were missed: the list has them. Of the event `gap`."""

    after: str | None
    """The id of the last event that was sent before."""

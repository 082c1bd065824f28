"""The API's replies about changes."""

from __future__ import annotations

from datetime import datetime

from headrace.contract.replies import Reply


class AuditEntryReply(Reply):
    """A change that somebody made."""

    at: datetime
    key: str
    """The name of the API key; empty: it has none, or the API has no keys."""
    action: str
    subject: str
    """The id of the task, worker or bulk operation."""
    request_id: str


class AuditReply(Reply):
    """A page of changes, the newest first."""

    items: list[AuditEntryReply]
    next_cursor: str | None
    """Where the next page begins: send it as `cursor`. Null: this is the last page."""

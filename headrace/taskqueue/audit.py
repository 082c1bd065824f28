"""Who has changed what: a list in Redis of the newest changes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from headrace.taskqueue.errors import FilterInvalid
from headrace.taskqueue.task import utc

AUDIT_KEPT = 10_000
"""So many changes are kept."""

LOOKED_AT = 1000
"""One script looks at so many."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change."""

    at: datetime
    key: str
    """The name of the API key; empty: it has none."""
    action: str
    subject: str
    """The id of the task, worker or bulk operation."""
    request_id: str


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some changes, the newest first."""

    entries: list[AuditEntry]
    cursor: str | None
    """Where the next page begins; None: this is the last one."""


class Audit:
    """Notes changes, and reads them. `run` runs a script of the queue's by its name."""

    def __init__(self, run: Callable[..., Awaitable[Any]]) -> None:
        self._run = run

    async def note(self, key: str, action: str, subject: str, request_id: str) -> None:
        """Keep a change. Raises as every call of the queue's does."""
        await self._run("audit_note", AUDIT_KEPT, key, action, subject, request_id)

    async def newest(
        self,
        *,
        key: str = "",
        action: str = "",
        subject: str = "",
        cursor: str | None = None,
        limit: int = 50,
    ) -> AuditPage:
        """A page of the changes by this key, of this kind, to this thing; empty: whatever.

        Raises FilterInvalid for a cursor that is none.
        """
        if cursor is not None and not re.fullmatch(r"\d{1,20}-\d{1,20}", cursor):
            raise FilterInvalid("cursor", "it must be the cursor of an earlier page")
        found: list[AuditEntry] = []
        after = cursor or ""
        while True:
            wanted = limit - len(found)
            after, *more = await self._run("audit", after, wanted, LOOKED_AT, key, action, subject)
            found += [_entry(row) for row in more]
            if not after or len(found) == limit:
                return AuditPage(entries=found, cursor=after.decode() if after else None)


def _entry(row: list[bytes]) -> AuditEntry:
    entry_id, key, action, subject, request_id = (part.decode("utf-8", "replace") for part in row)
    return AuditEntry(
        at=utc(int(entry_id.partition("-")[0])),
        key=key,
        action=action,
        subject=subject,
        request_id=request_id,
    )

"""Bulk operations: one action for many tasks, done in slices under a fenced lease."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from headrace.taskqueue.errors import BulkNotFound, FilterInvalid, QueueError
from headrace.taskqueue.installation import Installation
from headrace.taskqueue.listing import IdPage, TaskFilter
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.task import TaskStatus, utc
from headrace.taskqueue.tending import FencedLease

MAX_ACTIVE = 100
"""So many bulk operations may be worked on."""

MAX_KEPT = 1000
"""So many are listed, the newest."""

MAX_FAILURES = 100
"""So many tasks for which the action failed are named."""

FOUND_AT_ONCE = 100
DONE_AT_ONCE = 5
"""One script finds so many tasks, or does the action for so many: what other clients ask of Redis
waits for it, some tenths of a millisecond."""


class BulkAction(StrEnum):
    """What is done with each task."""

    RETRY = "retry"
    CANCEL = "cancel"
    DELETE = "delete"
    RUN_NOW = "run-now"


class BulkStatus(StrEnum):
    """How far a bulk operation is."""

    COLLECTING = "collecting"
    """Its matches are looked for."""
    RUNNING = "running"
    STOPPED = "stopped"
    """By a user, who may let it go on."""
    COMPLETED = "completed"


_STATUSES: dict[BulkAction, tuple[TaskStatus, ...]] = {
    BulkAction.RETRY: (TaskStatus.FAILED,),
    BulkAction.CANCEL: (TaskStatus.QUEUED, TaskStatus.PENDING),
    BulkAction.DELETE: (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED),
    BulkAction.RUN_NOW: (TaskStatus.PENDING,),
}
"""The tasks that an action is for, unless its filter names a status."""

_REASONS = {
    "NOTFOUND": "task-not-found",
    "NOTALLOWED": "not-allowed",
    "FULL": "queue-full",
    "UPGRADE": "upgrade-in-progress",
}
"""Why an action is refused, as over HTTP, by the scripts' codes."""

_LEAST = timedelta(milliseconds=1)

_ON_REQUEST = {
    BulkAction.RETRY: TaskStatus.CANCELLED,
    BulkAction.CANCEL: TaskStatus.RUNNING,
}
"""A status that it is for only when the filter names it."""


class BulkFailure(msgspec.Struct, frozen=True):
    """A task for which the action was refused."""

    task_id: str
    reason: str
    """As in `reasons` of the bulk operation."""


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk operation's record."""

    id: str
    action: BulkAction
    name: str
    filter: TaskFilter
    status: BulkStatus
    created_at: datetime
    ended_at: datetime | None
    by: str
    """The name of the API key that started it."""
    total: int
    """How many tasks match: all of them, once it is not collecting any more."""
    done: int
    failed: int
    reasons: dict[str, int]
    """How many of the failed ones were refused for which reason."""
    place: str
    """Where the next matches are looked for; empty: all are found."""


def match_filters(
    action: BulkAction, filter: TaskFilter, frozen_at: datetime | None = None
) -> list[TaskFilter]:
    """The filters by which the matches are found, one after the other: a status each.

    `frozen_at`: what ends, or is submitted, later is no match. Raises FilterInvalid.
    """
    filter.check()
    statuses = _STATUSES[action]
    if filter.worker is not None:
        statuses = (TaskStatus.RUNNING,)
    elif filter.status is not None:
        statuses = (filter.status,)
    for status in statuses:
        if status not in (*_STATUSES[action], _ON_REQUEST.get(action)):
            raise FilterInvalid("status", f"{action} is not for tasks that are {status}")
    filters = []
    for status in statuses:
        limits: dict[str, Any] = {"status": status}
        if frozen_at is not None:
            kind = "ended" if status.final else "created"
            after, before = getattr(filter, f"{kind}_after"), getattr(filter, f"{kind}_before")
            if after is not None and after >= frozen_at:
                continue  # it lies ahead: nothing matches
            limits[f"{kind}_before"] = frozen_at if before is None else min(before, frozen_at)
        filters.append(msgspec.structs.replace(filter, **limits))
        filters[-1].check()
    return filters


class Bulks:
    """The bulk operations of an installation.

    `run` calls a script, `find` finds ids: `TaskQueue.find_ids`.
    """

    def __init__(
        self,
        installation: Installation,
        link: Link,
        run: Callable[..., Awaitable[Any]],
        find: Callable[..., Awaitable[IdPage]],
        max_length: int,
    ) -> None:
        self._keys = installation.keys
        self._retention_seconds = installation.retention_seconds
        self._lease_ms = installation.lease_ms
        self._link = link
        self._run = run
        self._find = find
        self._max_length = max_length

    async def start(
        self, bulk_id: str, action: BulkAction, filter: TaskFilter, *, name: str = "", by: str = ""
    ) -> Bulk:
        """Start one. The same id again starts nothing.

        Raises FilterInvalid, TooManyTypes, and TooManyBulks while 100 of them are worked on.
        """
        await self._next_matches(match_filters(action, filter), _place())
        fields = {
            "action": action,
            "name": name,
            "by": by,
            "filter": msgspec.json.encode(filter),
            "place": _place(),
        }
        if TaskStatus.RUNNING in (filter.status, filter.worker and TaskStatus.RUNNING):
            fields["running"] = "1"
        flat = [part for pair in fields.items() for part in pair]
        await self._run("bulk_start", bulk_id, self._retention_seconds, MAX_ACTIVE, MAX_KEPT, *flat)
        return await self.get(bulk_id)

    async def get(self, bulk_id: str) -> Bulk:
        """One of them. Raises BulkNotFound."""
        [bulk] = await self._read([bulk_id])
        if bulk is None:
            raise BulkNotFound(bulk_id)
        return bulk

    async def failures(self, bulk_id: str) -> list[BulkFailure]:
        """The first 100 tasks for which the action was refused."""
        entries = await self._link.call("LRANGE", self._keys.bulk_failures(bulk_id), 0, -1)
        pairs = [entry.decode().split(" ", 1) for entry in entries]
        return [BulkFailure(task_id, _REASONS.get(code, code)) for code, task_id in pairs]

    async def newest(self, limit: int) -> list[Bulk]:
        """Those that are kept, the newest first."""
        return await self._named("ZREVRANGE", self._keys.bulks, limit)

    async def active(self) -> list[Bulk]:
        """Those that are worked on, the oldest first."""
        return await self._named("ZRANGE", self._keys.bulks_active, MAX_ACTIVE)

    async def stop(self, bulk_id: str) -> Bulk:
        """Stop one, within a moment. Raises BulkNotFound."""
        return await self._mark(bulk_id, "stop")

    async def resume(self, bulk_id: str) -> Bulk:
        """Let one go on where it was stopped. Raises BulkNotFound."""
        return await self._mark(bulk_id, "resume")

    async def matches(self, filters: Sequence[TaskFilter]) -> AsyncIterator[list[str]]:
        """The ids of the tasks that would match now, in pages."""
        place = _place()
        while place:
            page, place = await self._next_matches(filters, place)
            yield page.ids

    # Under a lease

    async def collect(self, lease: FencedLease, bulk: Bulk) -> int:
        """Look for more matches; how many there are by now. Raises Fenced."""
        filters = match_filters(bulk.action, bulk.filter, bulk.created_at + _LEAST)
        page, place = await self._next_matches(filters, bulk.place)
        args = (bulk.id, self._retention_seconds, bulk.place, place, *page.ids)
        return int(await lease.run("bulk_collect", *args))

    async def step(self, lease: FencedLease, bulk: Bulk) -> int:
        """Do the action for a few more tasks; for how many. Raises Fenced."""
        limits = (self._retention_seconds, DONE_AT_ONCE, self._max_length, self._lease_ms)
        return int(await lease.run("bulk_step", bulk.id, *limits, MAX_FAILURES))

    async def _next_matches(self, filters: Sequence[TaskFilter], place: str) -> tuple[IdPage, str]:
        """The matches from a place on, and the next place; an empty one: these were the last."""
        number, cursor = msgspec.json.decode(place, type=tuple[int, str | None])
        if not filters:
            return IdPage(ids=[], scanned=0, complete=True, cursor=None), ""
        page = await self._find(filters[number], cursor=cursor, limit=FOUND_AT_ONCE)
        if page.cursor is not None:
            return page, _place(number, page.cursor)
        return page, _place(number + 1) if number + 1 < len(filters) else ""

    async def _mark(self, bulk_id: str, mark: str) -> Bulk:
        await self._run("bulk_mark", bulk_id, mark, self._retention_seconds, subject=bulk_id)
        return await self.get(bulk_id)

    async def _named(self, command: str, key: str, limit: int) -> list[Bulk]:
        ids = await self._link.call(command, key, 0, limit - 1)
        found = await self._read([bulk_id.decode() for bulk_id in ids])
        return [bulk for bulk in found if bulk is not None]

    async def _read(self, ids: Sequence[str]) -> list[Bulk | None]:
        replies = await self._link.call_together(
            [("HGETALL", self._keys.bulk(bulk_id)) for bulk_id in ids]
        )
        for reply in replies:
            if isinstance(reply, QueueError):
                raise reply
        return [_decode(bulk_id, flat) for bulk_id, flat in zip(ids, replies, strict=True)]


def _place(number: int = 0, cursor: str | None = None) -> str:
    """A place in the walk over the matches: which filter, and its cursor."""
    return msgspec.json.encode((number, cursor)).decode()


def _decode(bulk_id: str, flat: Sequence[bytes]) -> Bulk | None:
    """A record; None for none, and for what cannot be read."""
    pairs = zip(*[iter(flat)] * 2, strict=True)
    fields = {name.decode(): value.decode() for name, value in pairs}
    if "action" not in fields or "created" not in fields:
        return None
    place = fields.get("place", "")
    if "ended" in fields:
        status = BulkStatus.COMPLETED
    elif "stopped" in fields:
        status = BulkStatus.STOPPED
    else:
        status = BulkStatus.COLLECTING if place else BulkStatus.RUNNING
    return Bulk(
        id=bulk_id,
        action=BulkAction(fields["action"]),
        name=fields["name"],
        filter=msgspec.json.decode(fields["filter"], type=TaskFilter),
        status=status,
        created_at=utc(int(fields["created"])),
        ended_at=utc(int(fields["ended"])) if "ended" in fields else None,
        by=fields["by"],
        total=int(fields["total"]),
        done=int(fields["done"]),
        failed=int(fields["failed"]),
        reasons={
            _REASONS.get(code, code): int(count)
            for name, count in sorted(fields.items())
            for kind, _, code in [name.partition(":")]
            if kind == "failed" and code
        },
        place=place,
    )

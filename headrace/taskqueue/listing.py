"""The list of tasks: what is asked for, what is sent to Redis, what comes back. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Generator
from datetime import datetime
from typing import Any

import msgspec

from headrace.limits import MAX_BATCH, TAG, TAG_RULE, TASK_TYPE_NAME, TASK_TYPE_NAME_RULE
from headrace.taskqueue.errors import FilterInvalid
from headrace.taskqueue.records import decode_task
from headrace.taskqueue.task import FINAL, Task, TaskStatus, milliseconds

MAX_TYPES = 100
"""Tasks of so many types are listed together. As in lib/finding.lua."""

MAX_PAGE = 200

MAX_SCANNED = 10_000
"""One call looks at so many tasks."""

SCANNED_AT_ONCE = 500
"""One script looks at so many of them, and at 2 MiB of payloads: others wait for it."""

MAX_TEXT = 200
"""The longest text that is looked for."""

MAX_CURSOR = 1000


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which tasks are meant: those that fit all that is given.

    `type`, `status`, `ended_*` and `worker` are found by indexes. For the others tasks are looked
    through: the first 10,000 of the list, then as many more with each further page.
    """

    type: str | None = None
    status: TaskStatus | None = None
    ended_after: datetime | None = None
    """Tasks that have ended, at this time or later."""
    ended_before: datetime | None = None
    """Tasks that have ended, before this time."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    tag: str | None = None
    """One of its tags."""
    q: str | None = None
    """A text in the payload's JSON, as it was submitted."""
    error: str | None = None
    """A text in the last error."""
    worker: str | None = None
    """Tasks that this worker runs."""

    def check(self) -> None:
        """Raise FilterInvalid for what no task can fit."""
        self.statuses()
        for name, pattern, rule in (
            ("type", TASK_TYPE_NAME, TASK_TYPE_NAME_RULE),
            ("tag", TAG, TAG_RULE),
        ):
            text = getattr(self, name)
            if text is not None and not re.fullmatch(pattern, text):
                raise FilterInvalid(name, f"it must have {rule}")
        for name in ("q", "error", "worker"):
            text = getattr(self, name)
            if text is not None and not 1 <= len(text) <= MAX_TEXT:
                raise FilterInvalid(name, f"it must have 1 to {MAX_TEXT} characters")
        for kind in ("created", "ended"):
            after, before = getattr(self, f"{kind}_after"), getattr(self, f"{kind}_before")
            if after is not None and before is not None and after >= before:
                raise FilterInvalid(f"{kind}_after", f"it must lie before `{kind}_before`")

    def statuses(self) -> list[TaskStatus]:
        """The statuses that a task may have. Raises FilterInvalid when there is none."""
        if self.worker is not None:
            if self.status not in (None, TaskStatus.RUNNING) or self._ended:
                raise FilterInvalid(
                    "worker", "it finds what a worker runs now: leave `status` and `ended_…` out"
                )
            return [TaskStatus.RUNNING]
        if self._ended and self.status is not None and self.status not in FINAL:
            raise FilterInvalid(
                "status",
                "tasks in this status have not ended: leave `ended_after` and `ended_before` out, "
                "or ask for completed, failed or cancelled",
            )
        if self.status is not None:
            return [self.status]
        return sorted(FINAL) if self._ended else list(TaskStatus)

    @property
    def _ended(self) -> bool:
        return self.ended_after is not None or self.ended_before is not None

    def pack(self) -> bytes:
        """As lib/finding.lua reads it. Raises FilterInvalid."""
        self.check()
        fields = msgspec.structs.asdict(self)
        del fields["status"]
        packed: dict[str, Any] = {"statuses": self.statuses()}
        for name, value in fields.items():
            if value is not None:
                packed[name] = milliseconds(value) if isinstance(value, datetime) else value
        if "created_after" in packed:  # nothing ends before it is created
            ended_after = packed.get("ended_after", 0)
            packed["ended_after"] = max(ended_after, packed["created_after"])
        return _pack(packed)


ALL_TASKS = TaskFilter()


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some tasks of the list, in its order."""

    tasks: list[Task]
    """Without their payloads and results, which may be large: `get` has them."""
    scanned: int
    """How many tasks were looked at."""
    complete: bool
    """False: there may be further matches that were not looked at, though the page is not full."""
    cursor: str | None
    """Where the next page begins; None: this is the last one."""


class IdPage(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of some tasks of the list, in its order. Its fields are as in `TaskPage`."""

    ids: list[str]
    scanned: int
    complete: bool
    cursor: str | None


class TaskCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks of a type are in each state."""

    queued: int
    running: int
    pending: int
    completed: int
    failed: int
    cancelled: int
    capped: bool
    """There are more ended tasks whose records are kept: the oldest left the indexes, which have
    their bounds."""


def decode_counts(reply: list[Any]) -> tuple[str, dict[str, TaskCounts]]:
    """Where the next call begins ('': nowhere), and the counts by type."""
    more, *rows = reply
    found = {}
    for name, *numbers, capped in rows:
        fields = dict(zip(_COUNTED, numbers, strict=True))
        found[name.decode("utf-8", "replace")] = TaskCounts(**fields, capped=bool(capped))
    return (list(found)[-1] if more else "", found)


_COUNTED = ("queued", "running", "pending", "completed", "failed", "cancelled")

_pack = msgspec.msgpack.Encoder().encode
_Place = tuple[TaskStatus, int | float, str, str]
_read_place = msgspec.msgpack.Decoder(_Place).decode

Script = Generator[tuple[Any, ...], Any, Any]
"""Yields the arguments of a call of `list`, and is sent its reply."""


def task_pages(filter: TaskFilter, cursor: str | None, limit: int) -> Script:
    """The calls that make a TaskPage, which it returns. Raises FilterInvalid."""
    limit = min(limit, MAX_PAGE)
    found, scanned, place = yield from _search(filter, cursor, limit, ids_alone=False)
    pairs = zip(*[iter(found)] * 2, strict=True)
    tasks = [decode_task(task_id.decode(), flat, outline=True) for task_id, flat in pairs]
    return TaskPage(
        tasks=[task for task in tasks if task is not None],
        scanned=scanned,
        complete=not place or len(tasks) == limit,
        cursor=_cursor(place),
    )


def id_pages(filter: TaskFilter, cursor: str | None, limit: int) -> Script:
    """The calls that make an IdPage, which it returns. Raises FilterInvalid."""
    limit = min(limit, MAX_BATCH)
    found, scanned, place = yield from _search(filter, cursor, limit, ids_alone=True)
    return IdPage(
        ids=[task_id.decode() for task_id in found],
        scanned=scanned,
        complete=not place or len(found) == limit,
        cursor=_cursor(place),
    )


def _search(filter: TaskFilter, cursor: str | None, limit: int, *, ids_alone: bool) -> Script:
    """Call `list` until there is enough, in slices."""
    packed, place = filter.pack(), _place(cursor)
    found: list[Any] = []
    stride = 1 if ids_alone else 2
    scanned = 0
    for _ in range(MAX_SCANNED // SCANNED_AT_ONCE):
        wanted = limit - len(found) // stride
        looked_at, place, *more = yield packed, place, wanted, SCANNED_AT_ONCE, int(ids_alone)
        scanned += looked_at
        found += more
        if not place or len(found) == limit * stride:
            break
    return found, scanned, place


def _cursor(place: bytes) -> str | None:
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode() if place else None


def _place(cursor: str | None) -> bytes:
    """What a cursor stands for. Raises FilterInvalid for what was none of ours."""
    if cursor is None:
        return b""
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError
        packed = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        _read_place(packed)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise FilterInvalid(
            "cursor", "it must be the cursor of an earlier page: leave it out to begin anew"
        ) from None
    return packed

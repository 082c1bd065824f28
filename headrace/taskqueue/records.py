"""Turns a record in Redis (keys.py lists its fields) into a `Task`. Pure."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from headrace.limits import DEFAULT_MAX_RETRIES
from headrace.taskqueue.errors import LayoutTooNew
from headrace.taskqueue.task import RECORD_VERSION, Task, TaskStatus, unpack_options, utc

NEVER = b"9000000000000000"
"""When a task is due that waits for its inbox alone. As in lib/waiting.lua."""

_IDEMPOTENT = uuid.UUID("8d3f4ac8-5a39-5b0e-8f3c-3b5b7c1f4e11")

_VERSION_4 = 0x4 << 76 | 0b10 << 62
_RANDOM_BITS = ~(0xF << 76 | 0b11 << 62)


def new_id() -> str:
    """A random task id: a UUID of version 4. As `str(uuid.uuid4())`, at half the price."""
    bits = int.from_bytes(os.urandom(16), "big")
    digits = f"{bits & _RANDOM_BITS | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def idempotent_id(task_type: str, key: str) -> str:
    """The id that an idempotency key stands for within a task type: a UUID of version 5."""
    return str(uuid.uuid5(_IDEMPOTENT, f"{task_type}\0{key}"))


def is_idempotent(task_id: str) -> bool:
    """Whether an id came from `idempotent_id`, so that what is asked for must not change."""
    return task_id[14:15] == "5"


def request_hash(
    task_id: str,
    payload: bytes,
    max_retries: int,
    start_ms: int | None = None,
    start_in_ms: int | None = None,
) -> str:
    """What a later submit under the same idempotent id is compared with (see submit.lua).

    Args:
        task_id: of any other id nothing is kept, and the answer is empty.
        payload: with max_retries, the first 16 digits.
        max_retries: as above.
        start_ms: when it was to start, 0: at once; None: not known any more, and not compared.
        start_in_ms: how long after the submit it was to start; compared instead of `start_ms`.
    """
    if not is_idempotent(task_id):
        return ""
    asked = hashlib.sha256(b"%d\0%b" % (max_retries, payload)).hexdigest()[:16]
    if start_in_ms is not None:
        return f"{asked}+{start_in_ms}"
    return f"{asked}?" if start_ms is None else f"{asked}{start_ms}"


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Redis's flat list of fields and values as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def count_of(fields: dict[bytes, bytes], name: bytes) -> int:
    """A counter; 0 if it is not a number. The next script that counts there sets it aside."""
    try:
        return int(fields.get(name, 0))
    except ValueError:
        return 0


def decode_tasks(task_ids: Sequence[str], replies: Sequence[Any]) -> list[Task | None]:
    """Tasks as the script `get` tells of them; None where there is none."""
    return [decode_task(i, flat) for i, flat in zip(task_ids, replies, strict=True)]


def decode_task(task_id: str, flat: Sequence[bytes], *, outline: bool = False) -> Task | None:
    """A task from its record's fields and values; None when there is no record, or none of ours.

    `outline`: without payload and result. Raises LayoutTooNew for a record that a newer Headrace
    wrote.
    """
    if not flat:
        return None
    try:
        record = pairs(flat)
        if outline:
            record.pop(b"p", None)
            record.pop(b"r", None)
        return _task(task_id, record)
    except (KeyError, ValueError):  # what the scripts let through, they can work with
        return None


def _task(task_id: str, record: dict[bytes, bytes]) -> Task:
    if int(record.get(b"v", b"1")) > RECORD_VERSION:
        raise LayoutTooNew(record[b"v"].decode(), RECORD_VERSION)

    options = unpack_options(record.get(b"o", b""))

    def number(field: bytes, default: int = 0) -> int:
        return int(record.get(field, default))

    def moment(field: bytes) -> datetime | None:
        return utc(int(record[field])) if field in record else None

    def text(field: bytes) -> str | None:
        return record[field].decode("utf-8", "replace") if field in record else None

    return Task(
        id=task_id,
        type=record[b"t"].decode(),
        status=TaskStatus(record[b"s"].decode()),
        created_at=utc(number(b"c")),
        started_at=moment(b"b"),
        completed_at=moment(b"e"),
        due_at=None if record.get(b"d") == NEVER else moment(b"d"),
        payload=record.get(b"p", b"null"),
        result=record.get(b"r"),
        error=text(b"er"),
        problem=record.get(b"ep"),
        retry_count=number(b"rc"),
        crash_count=number(b"cc"),
        max_retries=number(b"m", DEFAULT_MAX_RETRIES),
        progress_percent=float(record[b"pp"]) if b"pp" in record else None,
        progress_message=text(b"pm"),
        worker=text(b"w"),
        cancel_requested=b"x" in record,
        headers=options.headers,
        tags=options.tags,
        parent=options.parent,
    )

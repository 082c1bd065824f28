"""What a task must be to enter the queue. Pure, and cheap: it runs for every task."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from headrace.limits import MAX_RETRIES_LIMIT, TASK_ID, TASK_TYPE_NAME, TASK_TYPE_NAME_RULE
from headrace.taskqueue.errors import PayloadTooLarge, TaskInvalid
from headrace.taskqueue.task import NewTask

_is_id = re.compile(TASK_ID).fullmatch
_read = msgspec.json.Decoder(msgspec.Raw).decode


def check(task: NewTask, max_payload_bytes: int) -> None:
    """Raise TaskInvalid for a task that nobody could run, or PayloadTooLarge."""
    if len(task.payload) > max_payload_bytes:
        raise PayloadTooLarge(len(task.payload), max_payload_bytes)
    if not _is_type_name(task.type):
        raise TaskInvalid(
            f"{task.type!r} is no name for a task type: {TASK_TYPE_NAME_RULE}, as in 'resize_image'"
        )
    if not _is_id(task.id):
        raise TaskInvalid(
            f"{task.id!r} is no task id: it must be a UUID in small letters, as new_id() draws it "
            "and idempotent_id() makes it of a key"
        )
    if not 0 <= task.max_retries <= MAX_RETRIES_LIMIT:
        raise TaskInvalid(
            f"max_retries is {task.max_retries}, it must be from 0 to {MAX_RETRIES_LIMIT}"
        )
    if not task.payload_is_json:
        _check_json(task.payload)


def _check_json(payload: bytes) -> None:
    """Raise TaskInvalid unless it is a JSON document. Nothing is made of it, which is cheap."""
    try:
        _read(payload)
        if not payload.isascii():
            payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TaskInvalid(
            f"the payload is no JSON document ({error}): write it with json.dumps(…).encode() or "
            "msgspec.json.encode(…)"
        ) from None


@lru_cache(maxsize=1024)
def _is_type_name(name: str) -> bool:
    return re.fullmatch(TASK_TYPE_NAME, name) is not None

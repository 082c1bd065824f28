"""What a task must be to enter the queue. Pure, and cheap: it runs for every task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from headrace.limits import (
    HEADER_NAME,
    HEADER_NAME_RULE,
    MAX_OPTIONS_BYTES,
    MAX_RETRIES_LIMIT,
    TAG,
    TAG_RULE,
    TASK_ID,
    TASK_TYPE_NAME,
    TASK_TYPE_NAME_RULE,
)
from headrace.taskqueue.errors import PayloadTooLarge, TaskInvalid
from headrace.taskqueue.task import NewTask, Options

_is_header_name = re.compile(HEADER_NAME).fullmatch
_is_tag = re.compile(TAG).fullmatch
_is_id = re.compile(TASK_ID).fullmatch
_read = msgspec.json.Decoder(msgspec.Raw).decode


def check(task: NewTask, max_payload_bytes: int) -> None:
    """Raise TaskInvalid for a task that nobody could run, or PayloadTooLarge."""
    if len(task.payload) > max_payload_bytes:
        raise PayloadTooLarge(len(task.payload), max_payload_bytes)
    if not _is_type_name(task.type):
        raise TaskInvalid(
            f"{task.type!r} is not a name for a task type: {TASK_TYPE_NAME_RULE}, as in "
            "'resize_image'"
        )
    if not _is_id(task.id):
        raise TaskInvalid(
            f"{task.id!r} is no task id: it must be a UUID in small letters, as new_id() draws it "
            "and idempotent_id() makes it of a key"
        )
    _check_max_retries(task.max_retries)
    if not task.payload_is_json:
        _check_json(task.payload)
    if task.headers or task.tags:
        check_options(task.headers, task.tags)


def check_edit(max_retries: int | None, tags: Sequence[str] | None) -> None:
    """Raise TaskInvalid for what no task may be given later."""
    if max_retries is not None:
        _check_max_retries(max_retries)
    if tags:
        check_options({}, tuple(tags))


def _check_max_retries(count: int) -> None:
    if not 0 <= count <= MAX_RETRIES_LIMIT:
        raise TaskInvalid(f"max_retries is {count}, it must be from 0 to {MAX_RETRIES_LIMIT}")


def _check_json(payload: bytes) -> None:
    """Raise TaskInvalid unless it is a JSON document. Nothing is made of it, which is cheap."""
    try:
        _read(payload)
        if not payload.isascii():
            payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TaskInvalid(
            f"the payload is not a JSON document ({error}): write it by json.dumps(…).encode() or "
            "msgspec.json.encode(…)"
        ) from None


def check_options(headers: dict[str, str], tags: tuple[str, ...]) -> None:
    """Raise TaskInvalid for headers or tags that no task may have."""
    for name, value in headers.items():
        if not _is_header_name(name):
            raise TaskInvalid(f"{name!r} is not a name for a header: {HEADER_NAME_RULE}")
        if not isinstance(value, str):
            raise TaskInvalid(f"the header {name!r} is a {type(value).__name__}: it must be a str")
    for tag in tags:
        if not _is_tag(tag):
            raise TaskInvalid(f"{tag!r} is not a tag: {TAG_RULE}")
    size = len(Options(headers, tags).pack())
    if size > MAX_OPTIONS_BYTES:
        raise TaskInvalid(
            f"headers and tags have {size} bytes together, the limit is {MAX_OPTIONS_BYTES}: "
            "put the data into the payload"
        )


@lru_cache(maxsize=1024)
def _is_type_name(name: str) -> bool:
    return re.fullmatch(TASK_TYPE_NAME, name) is not None

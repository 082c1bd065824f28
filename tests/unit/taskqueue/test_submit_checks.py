"""Tasks that nobody could run are refused before Redis is asked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headrace.handlers import RegistrationError, handler
from headrace.limits import MAX_BATCH, MAX_RETRIES_LIMIT
from headrace.taskqueue import (
    NewTask,
    NotSent,
    PayloadTooLarge,
    QueueError,
    TaskInvalid,
    TaskQueue,
    new_id,
)

NOWHERE = "redis://127.0.0.1:1/0"

GOOD_ID = "7c0d4a1e-0000-4000-8000-00000000abcd"


def task(task_type: str = "report", payload: bytes = b"{}", **rules: Any) -> NewTask:
    return NewTask(**{"type": task_type, "payload": payload, "id": new_id()} | rules)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "a:b", "{a}", "报告", "a/b", ".a", "-a", "_a", "a" * 65, "a\n", "a\0", "*"),
        *("a'b", "Photos.Resize", "photos.Resize", "9lives"),
    ],
)
async def test_a_name_that_no_handler_can_have_is_refused_by_the_queue_as_by_handlers(
    name: str,
) -> None:
    with pytest.raises(TaskInvalid, match=r"is not a name for a task type: up to 64 of a-z, 0-9"):
        await TaskQueue(NOWHERE).submit(task(name))
    with pytest.raises(RegistrationError, match=r"is not a name for a task type: up to 64 of a-z"):

        @handler(name)
        def refused(ctx: Any, payload: Any) -> None: ...


@pytest.mark.parametrize("max_retries", [-1, MAX_RETRIES_LIMIT + 1])
async def test_retries_out_of_bounds_are_refused(max_retries: int) -> None:
    with pytest.raises(
        TaskInvalid, match=f"max_retries is {max_retries}, it must be from 0 to 100"
    ):
        await TaskQueue(NOWHERE).submit(task(max_retries=max_retries))


@pytest.mark.parametrize("task_id", ["", "abc", GOOD_ID.upper(), GOOD_ID + "\n", "1" * 32])
async def test_an_id_that_is_no_uuid_is_refused(task_id: str) -> None:
    with pytest.raises(TaskInvalid, match=r"is no task id: it must be a UUID in small letters"):
        await TaskQueue(NOWHERE).submit(task(id=task_id))


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"{'a': 1}", b"NaN", b"1 2", b"[1,]", b'"\xff"', b'"\x01"', b"[" * 100_000],
)
async def test_a_payload_that_is_no_json_is_refused(payload: bytes) -> None:
    with pytest.raises(TaskInvalid, match=r"the payload is not a JSON document \("):
        await TaskQueue(NOWHERE).submit(task(payload=payload))


@pytest.mark.parametrize("payload", [b"null", b" [1.5e3] ", '{"水": "\\ud834\\udd1e"}'.encode()])
async def test_every_json_document_is_a_payload(payload: bytes) -> None:
    with pytest.raises(NotSent):
        await TaskQueue(NOWHERE).submit(task(payload=payload))


async def test_a_payload_that_the_caller_has_checked_is_not_checked_again() -> None:
    with pytest.raises(NotSent):
        await TaskQueue(NOWHERE).submit(task(payload=b"{", payload_is_json=True))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"headers": {"Trace": "1"}},
            "'Trace' is not a name for a header: up to 64 of a-z, 0-9",
        ),
        ({"headers": {"": "1"}}, "'' is not a name for a header"),
        ({"headers": {"trace": 1}}, "the header 'trace' is a int: it must be a str"),
        ({"tags": ("a b",)}, "'a b' is not a tag: 1 to 64 letters, digits and"),
        ({"tags": ("x" * 65,)}, "is not a tag"),
        ({"headers": {"trace": "x" * 4096}}, "have 4109 bytes together, the limit is 4096"),
    ],
)
async def test_headers_and_tags_are_checked(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TaskInvalid, match=re.escape(sentence)):
        await TaskQueue(NOWHERE).submit(task(**options))


async def test_of_a_batch_every_task_is_checked_before_anything_is_sent() -> None:
    with pytest.raises(TaskInvalid):
        await TaskQueue(NOWHERE).submit_many([task(), task("Report")])
    with pytest.raises(TaskInvalid, match="1001 tasks in one batch: 1000 are allowed"):
        await TaskQueue(NOWHERE).submit_many([task()] * (MAX_BATCH + 1))


def test_a_refusal_is_an_error_of_the_queue_and_of_the_value() -> None:
    assert issubclass(TaskInvalid, QueueError)
    assert issubclass(TaskInvalid, ValueError)


async def test_a_payload_over_the_limit_is_refused() -> None:
    queue = TaskQueue(NOWHERE, max_payload_bytes=10)
    with pytest.raises(PayloadTooLarge, match=r"11 bytes, the limit is 10.*MAX_PAYLOAD_BYTES"):
        await queue.submit(task(payload=b"x" * 11))
    # Bytes count, not letters.
    with pytest.raises(PayloadTooLarge, match="12 bytes"):
        await queue.submit(task(payload="水水水水".encode()))

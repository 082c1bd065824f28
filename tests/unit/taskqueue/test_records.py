"""Records as they lie in Redis, read back."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.taskqueue.errors import LayoutTooNew
from headrace.taskqueue.records import decode_task, idempotent_id, is_idempotent, new_id
from headrace.taskqueue.task import Task, TaskStatus, utc

NOW = 1_760_000_000_123


def flat(**fields: object) -> list[bytes]:
    parts: list[bytes] = []
    for name, value in fields.items():
        parts += [name.encode(), value if isinstance(value, bytes) else str(value).encode()]
    return parts


def test_no_record_is_no_task() -> None:
    assert decode_task("1", []) is None


def test_a_record_just_submitted() -> None:
    record = flat(v=1, t="report", c=NOW, p=b"[]", s="queued")
    assert decode_task("1", record) == Task(
        id="1", type="report", status=TaskStatus.QUEUED, created_at=utc(NOW), payload=b"[]"
    )


def test_a_record_with_every_field() -> None:
    numbers = flat(v=1, c=NOW, q=NOW + 1, d=NOW + 2, b=NOW + 3, e=NOW + 4, rc=2, cc=1, m=7, f=4)
    marks = flat(x=1, z=1, k=1, pk=1)
    texts = flat(t="report", s="failed", h="abc", er="错误".encode(), w="w1", pm="一半".encode())
    documents = flat(p=b'{"a":12345678901234567}', r=b"[]", pp="12.5")
    record = numbers + marks + texts + documents
    assert decode_task("1", record) == Task(
        id="1",
        type="report",
        status=TaskStatus.FAILED,
        created_at=utc(NOW),
        due_at=utc(NOW + 2),
        started_at=utc(NOW + 3),
        completed_at=utc(NOW + 4),
        payload=b'{"a":12345678901234567}',
        result=b"[]",
        error="错误",
        retry_count=2,
        crash_count=1,
        max_retries=7,
        worker="w1",
        cancel_requested=True,
        progress_percent=12.5,
        progress_message="一半",
    )


def test_text_that_is_no_utf_8_is_still_readable() -> None:
    task = decode_task("1", flat(v=1, t="t", s="failed", c=NOW, p=b"1", er=b"bad \xff"))
    assert task is not None
    assert task.error == "bad \ufffd"


def test_a_newer_records_version_is_refused_whatever_else_it_holds() -> None:
    with pytest.raises(LayoutTooNew, match="version 3, this Headrace reads up to 2: upgrade"):
        decode_task("1", flat(v=3, something="new"))


def test_new_ids_are_random_uuids() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert {uuid.UUID(task_id).version for task_id in ids} == {4}
    assert not any(is_idempotent(task_id) for task_id in ids)


@given(st.text(), st.text())
def test_an_idempotency_key_always_stands_for_the_same_uuid(task_type: str, key: str) -> None:
    task_id = idempotent_id(task_type, key)
    assert task_id == idempotent_id(task_type, key)
    assert uuid.UUID(task_id).version == 5
    assert is_idempotent(task_id)


def test_the_ids_of_keys_never_change_between_releases() -> None:
    # A client may repeat its submit after an upgrade.
    assert idempotent_id("report", "order-1") == "d331d39a-3c98-5f11-8db4-791e52a9a1cb"

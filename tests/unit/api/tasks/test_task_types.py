"""What is said of a payload that does not fit."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from headrace.taskqueue import TypeInfo
from headrace_api.http.problems import Problem
from headrace_api.tasks.task_types import MAX_ERRORS, TaskTypeEntry

SCHEMA = {"type": "array", "items": {"type": "string"}}


def refused(payload: Any) -> list[dict[str, str]]:
    info = TypeInfo(
        name="strings", payload_schema=SCHEMA, max_retries=3, timeout_seconds=None, version="1"
    )
    entry = TaskTypeEntry(info, None, jsonschema_rs.Draft202012Validator(SCHEMA))
    with pytest.raises(Problem) as caught:
        entry.check(msgspec.json.encode(payload), "/payload")
    errors: list[dict[str, str]] = caught.value.extensions["errors"]
    return errors


def test_the_mistakes_of_a_payload_are_named_up_to_a_bound() -> None:
    assert [error["pointer"] for error in refused([1, "a", 2])] == ["/payload/0", "/payload/2"]
    assert len(refused([1] * 100)) == MAX_ERRORS


def test_of_a_large_payload_the_first_mistake_alone_is_looked_for() -> None:
    """The validator makes all that there are, at a price each, before it gives the first."""
    assert [error["pointer"] for error in refused(["a", *([1] * 500_000)])] == ["/payload/1"]


def test_a_message_quotes_no_more_than_the_beginning_of_a_value() -> None:
    [error] = refused("x" * 2_000_000)
    assert len(error["detail"]) < 400
    [error] = refused("x" * 2_000)
    assert error["detail"].endswith("…")

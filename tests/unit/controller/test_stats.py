"""Which stats replies count as a reading, and what is said of those that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model import Queue, Reading, Reason, Unread, Worker
from controller.stats import LARGEST_REPLY, parse

QUEUE: dict[str, Any] = {
    "queue_length": 3,
    "queue_length_retries": 1,
    "running": 2,
    "due_soon": 0,
    "arrivals_per_minute": 12,
    "completions_per_minute": 9.5,
    "retries_per_minute": 0.0,
    "crashes_per_minute": 0.0,
    "service_seconds_mean": None,
    "arrivals_total": 100,
    "completions_total": 90,
    "failures_total": 1,
    "retries_total": 2,
    "crashes_total": 0,
    "service_seconds_total": 45.5,
}
WORKER: dict[str, Any] = {
    "id": "w1",
    "pod": "p1",
    "concurrency": 5,
    "busy_slots": 2,
    "draining": True,
    "drained": False,
    "expected_free_seconds": 1.5,
}
REPLY: dict[str, Any] = {
    "enabled": True,
    "available": True,
    "at": "2027-01-15T08:00:00.250000Z",
    "epoch": "e1",
    "queues": {"tasks": QUEUE},
    "workers": [WORKER],
}


def read(reply: Any, status: int = 200) -> Reading | Unread:
    return parse(status, json.dumps(reply).encode())


def refused(reply: Any, status: int = 200) -> tuple[Reason, str]:
    found = read(reply, status)
    assert isinstance(found, Unread)
    return found.reason, found.message


def test_a_whole_reply_is_a_reading() -> None:
    more = {**REPLY, "version": 9, "workers": [{**WORKER, "host": "h"}]}
    assert read(more) == Reading(
        at=1_800_000_000.25,
        epoch="e1",
        queues={"tasks": Queue(**QUEUE)},
        workers=(Worker(**WORKER),),
    )


@pytest.mark.parametrize("name", QUEUE)
@pytest.mark.parametrize("value", [..., -1, "7", True, [], float("nan"), float("inf"), 1e300])
def test_a_queue_without_a_sound_number_is_no_reading(name: str, value: Any) -> None:
    queue = {**QUEUE, name: value}
    if value is ...:
        del queue[name]
    reason, message = refused({**REPLY, "queues": {"tasks": queue}})
    assert reason is Reason.STATS_INVALID
    assert f"queues.tasks.{name}: " in message


@pytest.mark.parametrize("name", WORKER)
@pytest.mark.parametrize("value", [..., -1, {}])
def test_a_worker_without_a_sound_field_is_no_reading(name: str, value: Any) -> None:
    worker = {**WORKER, name: value}
    if value is ...:
        del worker[name]
    reason, message = refused({**REPLY, "workers": [worker]})
    assert reason is Reason.STATS_INVALID
    assert f"workers.0.{name}: " in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, ...) for name in REPLY),
        ("at", "2027-01-15T08:00:00"),
        ("at", 1_800_000_000),
        ("at", None),
        ("epoch", ""),
        ("queues", []),
        ("queues", None),
        ("workers", {}),
    ],
)
def test_a_reply_without_a_sound_part_is_no_reading(name: str, value: Any) -> None:
    reply = {**REPLY, name: value}
    if value is ...:
        del reply[name]
    reason, message = refused(reply)
    assert reason is Reason.STATS_INVALID
    assert f"{name}: " in message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"enabled": true', b"\xff"])
def test_what_is_no_json_object_is_no_reading(body: bytes) -> None:
    found = parse(200, body)
    assert isinstance(found, Unread)
    assert found.reason is Reason.STATS_INVALID


def test_a_reply_that_is_too_long_is_no_reading() -> None:
    found = parse(200, b" " * (LARGEST_REPLY + 1) + json.dumps(REPLY).encode())
    assert isinstance(found, Unread)
    assert found.reason is Reason.STATS_INVALID
    assert "8 MiB" in found.message


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.integers(0, 400).map(lambda cut: json.dumps(REPLY).encode()[:cut])
)
def test_no_body_whatever_breaks_the_reader(body: bytes) -> None:
    assert isinstance(parse(200, body), Unread)
    assert isinstance(parse(503, body), Unread)


def test_a_queue_that_is_switched_off_is_told_as_such() -> None:
    reason, message = refused({"enabled": False, "queues": {}})
    assert reason is Reason.STATS_DISABLED
    assert "QUEUE_ENABLED" in message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (503, "cannot reach Redis"),
        (401, "role operator"),
        (403, "role operator"),
        (404, "base URL"),
        (307, "redirects are not followed"),
        (500, "HTTP 500"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, words: str) -> None:
    reason, message = refused({"enabled": True, "available": False}, status)
    assert reason is Reason.STATS_UNAVAILABLE
    assert words in message
    assert str(status) in message


def test_a_503_of_something_before_the_api_does_not_blame_redis() -> None:
    found = parse(503, b"no healthy upstream")
    assert isinstance(found, Unread)
    assert "Redis" not in found.message

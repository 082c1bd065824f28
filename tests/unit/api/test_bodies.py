"""Bodies: what is wrong with one is said with its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from headrace.handlers import Context, PayloadInvalid, handler
from services.api.bodies import (
    batch_body,
    check_depth,
    execute_body,
    idempotency_key,
    start_time,
    submit_body,
)
from services.api.problems import (
    INVALID_REQUEST,
    MALFORMED_JSON,
    UNSUPPORTED_MEDIA_TYPE,
    Problem,
    ProblemType,
)

JSON = ((b"content-type", b"application/json; charset=utf-8"),)


def request(body: bytes, headers: tuple[tuple[bytes, bytes], ...] = JSON) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": list(headers)}, receive)


async def problem(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        await execute_body(request(body))
    return caught.value


async def test_no_body_is_an_empty_one() -> None:
    body = await execute_body(request(b"", ()))
    assert (body.variables, body.max_retries, body.start_at) == ({}, None, None)


@pytest.mark.parametrize(
    ("body", "kind", "pointer"),
    [
        (b'{"max_retries": 101}', INVALID_REQUEST, "/max_retries"),
        (b'{"max_retries": -1}', INVALID_REQUEST, "/max_retries"),
        (b'{"max_retries": "3"}', INVALID_REQUEST, "/max_retries"),
        (b'{"max_retries": true}', INVALID_REQUEST, "/max_retries"),
        (b'{"start_at": "tomorrow"}', INVALID_REQUEST, "/start_at"),
        (b'{"variables": []}', INVALID_REQUEST, "/variables"),
        (b'{"variables": {"deep": [1e999]}}', INVALID_REQUEST, "/variables"),
        (b'{"variabels": {}}', INVALID_REQUEST, ""),
        (b"[]", INVALID_REQUEST, ""),
        (b"{", MALFORMED_JSON, None),
        (b'{"variables": {"n": NaN}}', MALFORMED_JSON, None),
        (b'{"variables": {"s": "\\ud800"}}', MALFORMED_JSON, None),
        (b'{"variables": {"s": "\xff"}}', MALFORMED_JSON, None),
        (b'{"variables":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, MALFORMED_JSON, None),
    ],
)
async def test_a_mistake_is_named_with_its_place(
    body: bytes, kind: ProblemType, pointer: str | None
) -> None:
    found = await problem(body)
    assert found.kind is kind
    if pointer is not None:
        assert found.extensions["errors"][0]["pointer"] == pointer


async def test_a_batch_names_the_task_at_fault() -> None:
    with pytest.raises(Problem) as caught:
        await batch_body(request(b'{"tasks": [{}, {"max_retries": 500}]}'))
    assert caught.value.extensions["errors"][0]["pointer"] == "/tasks/1/max_retries"


@pytest.mark.parametrize(
    "media_type", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b""]
)
async def test_what_a_foreign_page_could_send_is_not_taken(media_type: bytes) -> None:
    headers = ((b"content-type", media_type),) if media_type else ()
    with pytest.raises(Problem) as caught:
        await submit_body(request(b"{}", headers))
    assert caught.value.kind is UNSUPPORTED_MEDIA_TYPE


def test_a_start_time_without_an_offset_is_utc() -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    assert start_time(ahead.replace(tzinfo=None)) == ahead


@pytest.mark.parametrize(
    "asked",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=5))),
        datetime.now(UTC) + timedelta(days=101 * 366),
    ],
)
def test_a_start_time_too_far_ahead_is_refused_with_its_place(asked: datetime) -> None:
    with pytest.raises(Problem) as caught:
        start_time(asked, "/tasks/1/start_at")
    assert caught.value.kind is INVALID_REQUEST
    assert caught.value.extensions["errors"][0]["pointer"] == "/tasks/1/start_at"


@pytest.mark.parametrize(
    "asked", [datetime(1960, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]
)
def test_a_start_time_that_has_passed_is_taken(asked: datetime) -> None:
    assert start_time(asked) is not None


@handler("anything")
async def anything(ctx: Context, payload: Any) -> None:
    """Takes every payload that the parser can read."""


def test_the_door_and_the_handlers_agree_on_how_deep_a_payload_may_be() -> None:
    refused, deepest = [], 0
    for depth in range(140, 260):
        payload = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        try:
            anything.validate(payload)
            deepest = depth
        except PayloadInvalid:
            with pytest.raises(Problem) as caught:
                check_depth(payload, "/payload")
            refused.append(caught.value.extensions["errors"][0]["pointer"])
        else:
            check_depth(payload, "/payload")
    assert deepest > 180
    assert refused == ["/payload"] * (259 - deepest)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    check_depth(b"[" + b",".join([b"[{}]"] * 1000) + b"]", "/payload")


@pytest.mark.parametrize("key", [b"", b"k" * 256])
def test_an_unusable_idempotency_key_is_refused(key: bytes) -> None:
    with pytest.raises(Problem) as caught:
        idempotency_key(request(b"", ((b"idempotency-key", key),)))
    assert caught.value.extensions["errors"][0]["parameter"] == "Idempotency-Key"


@given(st.binary(max_size=200))
async def test_no_body_of_any_kind_is_an_internal_error(body: bytes) -> None:
    try:
        await submit_body(request(body))
    except Problem as found:
        status = found.status
    else:
        status = 202
    assert status in (202, 400, 422)

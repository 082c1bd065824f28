"""Bodies: what is wrong with one is said with its place."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from headrace.contract.problems import (
    INVALID_REQUEST,
    MALFORMED_JSON,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemType,
)
from headrace.handlers import Context, PayloadInvalid, handler
from headrace_api.http.bodies import (
    SubmitBody,
    batch_body,
    check_depth,
    execute_body,
    idempotency_key,
    start_in_ms,
    start_of,
    submit_body,
)
from headrace_api.http.problems import Problem

JSON = ((b"content-type", b"application/json; charset=utf-8"),)


def request(body: bytes, headers: tuple[tuple[bytes, bytes], ...] = JSON) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": list(headers)}, receive)


Read = Callable[[Request], Awaitable[object]]


async def problem(
    body: bytes, read: Read = execute_body, headers: tuple[tuple[bytes, bytes], ...] = JSON
) -> Problem:
    with pytest.raises(Problem) as caught:
        await read(request(body, headers))
    return caught.value


def places(found: Problem) -> list[str]:
    """Where the mistakes are, as JSON pointers."""
    return [error["pointer"] for error in found.extensions["errors"]]


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
        (b'{"variables": {"deep": [1e999]}}', INVALID_REQUEST, "/variables/deep/0"),
        (b'{"start_in": -1}', INVALID_REQUEST, "/start_in"),
        (b'{"start_in": "60"}', INVALID_REQUEST, "/start_in"),
        (b'{"start_in": 1e10}', INVALID_REQUEST, "/start_in"),
        (b'{"variabels": {}}', INVALID_REQUEST, ""),
        (b"[]", INVALID_REQUEST, ""),
        (b"{", MALFORMED_JSON, None),
        (b'{"variables": {"n": NaN}}', MALFORMED_JSON, None),
        (b'{"variables": {"s": "\\ud800"}}', MALFORMED_JSON, None),
        (b'{"variables": {"s": "\xff"}}', MALFORMED_JSON, None),
        (b'{"variables":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, MALFORMED_JSON, None),
    ],
)
async def test_a_mistake_is_named_with_its_place(
    body: bytes, kind: ProblemType, pointer: str | None
) -> None:
    found = await problem(body)
    assert found.kind is kind
    if pointer is not None:
        assert places(found)[0] == pointer


MSGSPECS_OWN = re.compile(
    r"Expected|Object contains|\$|truncated|malformed|out of range|`str`|`int`"
)
"""How the texts of the parser look, which says nothing of what to do."""


@pytest.mark.parametrize(
    ("read", "body", "said"),
    [
        (execute_body, b'{"variable": {}}', "there is no field `variable`: `variables` is meant"),
        (execute_body, b'{"name": "Ada"}', 'wrap your data, as in {"variables": …}'),
        (execute_body, b"[]", 'wrap it, as in {"variables": …}'),
        (execute_body, b'{"variables": []}', 'variables: it must be an object, as in {"name": "A'),
        (execute_body, b'{"max_retries": 101}', "max_retries: it must be a whole number from 0 to"),
        (execute_body, b'{"start_at": 5}', "start_at: it must be a time in ISO 8601, as in 20"),
        (
            execute_body,
            b'{"retries": 1, "n": 2, "variables": {}}',
            "`max_retries` is meant; there i",
        ),
        (
            execute_body,
            b'{"variables": {}, "n": 2}',
            "there is no field `n`: the fields are variables,",
        ),
        (execute_body, b'{"variables": {"n": 1e999}}', "variables.n: the number is too large"),
        (execute_body, b'{"variables": {"n": ' + b"1" * 5000 + b"}}", "n: the number is too large"),
        (execute_body, b'{"variables": \n{"n" 1}}', "it goes wrong at line 2, column 6"),
        (execute_body, b'{"variables": {"n": NaN}}', "NaN is not JSON: use null, or a text"),
        (execute_body, b'{"variables": {"s": "\\ud800"}}', "half of a surrogate pair stands alone"),
        (execute_body, b'{"x": 1, "\\ud800": 1}', "there is no field `x`, `?`: wrap your data"),
        (execute_body, b'{"variables": {"s": "\xff"}}', "its byte 21 is not UTF-8"),
        (submit_body, b"", 'it is empty: send {"payload": …}'),
        (submit_body, b'{"url": "photo.jpg"}', 'wrap your data, as in {"payload": …}'),
        (submit_body, b'"photo.jpg"', 'it must be an object: wrap it, as in {"payload": …}'),
        (batch_body, b'[{"payload": 1}]', 'wrap it, as in {"tasks": […]}'),
        (batch_body, b'{"tasks": []}', "tasks: it must be a list of 1 to 1000 tasks"),
        (
            batch_body,
            b'{"tasks": [{}, {"url": 1}]}',
            "tasks.1: there is no field `url`: wrap your d",
        ),
        (batch_body, b"{}", "tasks: it is missing"),
    ],
)
async def test_a_mistake_is_told_in_words_that_say_what_to_do(
    read: Read, body: bytes, said: str
) -> None:
    found = await problem(body, read)
    assert said in found.detail
    assert not MSGSPECS_OWN.search(found.detail)
    found.response("/", "id")  # it can be sent, whatever it quotes


async def test_all_mistakes_are_named_at_once() -> None:
    found = await problem(b'{"max_retries": -1, "start_at": "soon", "variabels": {}}')
    assert places(found) == ["", "/max_retries", "/start_at"]


async def test_a_reply_names_a_bounded_number_of_mistakes_however_long() -> None:
    tasks = b",".join([b'{"%s": 1}' % (b"x" * 500)] * 900)
    found = await problem(b'{"tasks": [' + tasks + b"]}", batch_body)
    assert len(places(found)) == 20
    assert len(found.detail) < 5000


def test_a_start_may_be_given_as_seconds_from_now() -> None:
    before = datetime.now(UTC)
    start = start_of(SubmitBody(start_in=90.5))
    assert start is not None
    assert before <= start - timedelta(seconds=90.5) <= datetime.now(UTC)
    assert start_in_ms(SubmitBody(start_in=90.5)) == 90_500


def test_two_start_times_are_refused() -> None:
    with pytest.raises(Problem) as caught:
        start_of(SubmitBody(start_in=1, start_at=datetime.now(UTC)), "/tasks/3")
    assert places(caught.value)[0] == "/tasks/3/start_in"


async def test_a_batch_names_the_task_at_fault() -> None:
    found = await problem(b'{"tasks": [{}, {"max_retries": 500}]}', batch_body)
    assert places(found)[0] == "/tasks/1/max_retries"


@pytest.mark.parametrize(
    "media_type", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b""]
)
async def test_what_a_foreign_page_could_send_is_not_taken(media_type: bytes) -> None:
    headers = ((b"content-type", media_type),) if media_type else ()
    assert (await problem(b"{}", submit_body, headers)).kind is UNSUPPORTED_MEDIA_TYPE


def test_a_start_time_without_an_offset_is_utc() -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    assert start_of(SubmitBody(start_at=ahead.replace(tzinfo=None))) == ahead


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
        start_of(SubmitBody(start_at=asked), "/tasks/1")
    assert caught.value.kind is INVALID_REQUEST
    assert places(caught.value)[0] == "/tasks/1/start_at"


@pytest.mark.parametrize(
    "asked", [datetime(1960, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]
)
def test_a_start_time_that_has_passed_is_taken(asked: datetime) -> None:
    assert start_of(SubmitBody(start_at=asked)) is not None


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
            refused += places(caught.value)
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

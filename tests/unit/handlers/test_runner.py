"""Running a handler once: what it returns, raises, and parks for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, cast

import pytest
from pydantic import BaseModel

from headrace.handlers import (
    Context,
    Fatal,
    Park,
    Raised,
    Resources,
    Returned,
    run_attempt,
)
from tests.unit.handlers.attempts import Number, typed
from tests.unit.handlers.recording_host import make_context

# What a handler returns


async def test_an_async_handlers_value_becomes_json() -> None:
    async def f(ctx: Context, payload: Number) -> Any:
        return {"twice": payload.value * 2, "at": datetime(2026, 1, 2, tzinfo=UTC)}

    ended = await run_attempt(typed(f), b'{"value": 4}', make_context())
    assert ended.outcome == Returned(b'{"twice":8,"at":"2026-01-02T00:00:00Z"}')
    assert ended.still_running is None


async def test_a_sync_handler_runs_in_a_thread(threads: ThreadPoolExecutor) -> None:
    def f(ctx: Context, payload: Number) -> Any:
        return {"thread": threading.current_thread() is not threading.main_thread()}

    ended = await run_attempt(
        typed(f), b'{"value": 4}', make_context(), resources=Resources(threads=threads)
    )
    assert ended.outcome == Returned(b'{"thread":true}')


async def test_a_sync_handler_runs_without_a_pool_given() -> None:
    def f(ctx: Context, payload: Any) -> Any:
        return Number(value=payload)

    ended = await run_attempt(typed(f), b"4", make_context())
    assert ended.outcome == Returned(b'{"value":4}')


async def test_a_sync_handler_sees_the_context_variables_of_its_caller() -> None:
    request = contextvars.ContextVar("request", default="none")

    def f(ctx: Context, payload: Any) -> Any:
        return request.get()

    request.set("r-1")
    assert (await run_attempt(typed(f), b"0", make_context())).outcome == Returned(b'"r-1"')


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "it is NaN"),
        ({"scores": [0.5, float("nan")]}, "/scores/1 is NaN"),
        ({"a/b~c": Decimal(1), "low": [{"x": -float("inf")}]}, "/low/0/x is -Infinity"),
        ({"a/b~c": float("inf"), "later": float("nan")}, "/a~1b~0c is Infinity"),
    ],
)
async def test_a_number_that_json_lacks_fails_the_task_and_its_place_is_named(
    value: Any, place: str, sync: bool
) -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return value

    def g(ctx: Context, payload: Any) -> Any:
        return value

    outcome = (await run_attempt(typed(g if sync else f), b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert outcome.error.startswith(f"the result cannot be written as JSON: {place}, ")
    assert not outcome.retryable


async def test_a_model_writes_null_for_such_a_number_unless_its_settings_keep_it() -> None:
    class Score(BaseModel):
        value: float

    class Exact(Score, ser_json_inf_nan="constants"):
        pass

    async def f(ctx: Context, payload: Any) -> Any:
        return [Score(value=float("nan"))]

    async def g(ctx: Context, payload: Any) -> Any:
        return [Exact(value=float("nan"))]

    assert (await run_attempt(typed(f), b"0", make_context())).outcome == Returned(
        b'[{"value":null}]'
    )
    outcome = (await run_attempt(typed(g), b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert "/0/value is NaN" in outcome.error


async def test_a_text_may_name_numbers_that_json_lacks() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return {"NaN": ["Infinity", Decimal("NaN")]}

    ended = await run_attempt(typed(f), b"0", make_context())
    assert ended.outcome == Returned(b'{"NaN":["Infinity","NaN"]}')


async def test_a_result_that_cannot_be_written_fails_and_is_not_retried() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return object()

    outcome = (await run_attempt(typed(f), b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert "cannot be written as JSON" in outcome.error
    assert not outcome.retryable


async def test_a_result_over_the_limit_fails_and_is_not_retried() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return "x" * 100

    ended = await run_attempt(
        typed(f), b"0", make_context(), resources=Resources(max_result_bytes=50)
    )
    assert isinstance(ended.outcome, Raised)
    assert "102 bytes, the limit is 50" in ended.outcome.error
    assert not ended.outcome.retryable


async def test_a_park_is_an_outcome_where_parking_is_possible() -> None:
    park = Park(datetime.now(UTC) + timedelta(seconds=9), b"state")

    async def f(ctx: Context, payload: Any) -> Any:
        return park

    assert (await run_attempt(typed(f), b"0", make_context(can_park=True))).outcome is park
    outcome = (await run_attempt(typed(f), b"0", make_context(can_park=False))).outcome
    assert isinstance(outcome, Raised)
    assert not outcome.retryable


# What a handler raises


@pytest.mark.parametrize(
    ("error", "retryable", "text"),
    [
        (ValueError("no such city"), True, "ValueError: no such city"),
        (KeyError(), True, "KeyError"),
        (Fatal("card refused"), False, "card refused"),
        (Fatal(), False, "Fatal"),
        (SystemExit(3), False, "SystemExit: 3"),
        (
            ExceptionGroup("two", [ValueError("a"), OSError("b")]),
            True,
            "ExceptionGroup: two (2 sub-exceptions): ValueError: a; OSError: b",
        ),
        (
            ExceptionGroup("one", [Fatal("a")]),
            False,
            "ExceptionGroup: one (1 sub-exception): a",
        ),
        (ValueError("\udc80"), True, "ValueError: \\udc80"),
    ],
)
@pytest.mark.parametrize("sync", [False, True])
async def test_errors_are_named_and_judged(
    error: BaseException, retryable: bool, text: str, sync: bool, threads: ThreadPoolExecutor
) -> None:
    def sync_handler(ctx: Context, payload: Any) -> Any:
        raise error

    async def async_handler(ctx: Context, payload: Any) -> Any:
        raise error

    task_type = typed(sync_handler if sync else async_handler)
    outcome = (
        await run_attempt(task_type, b"0", make_context(), resources=Resources(threads=threads))
    ).outcome
    assert isinstance(outcome, Raised)
    assert (outcome.error, outcome.retryable) == (text, retryable)
    assert outcome.exception is (None if isinstance(error, Fatal) else error)


async def test_an_error_outside_of_retry_on_is_not_retried() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        raise ValueError("x")

    outcome = (await run_attempt(typed(f, retry_on=(OSError,)), b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert not outcome.retryable


async def test_an_error_whose_message_cannot_be_read_is_named_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def f(ctx: Context, payload: Any) -> Any:
        raise Broken

    outcome = (await run_attempt(typed(f), b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert outcome.error == "Broken: (its message cannot be read: RuntimeError)"


async def test_an_invalid_payload_fails_before_the_handler_runs() -> None:
    ran = []

    async def f(ctx: Context, payload: Number) -> Any:
        ran.append(payload)

    outcome = (await run_attempt(typed(f), b'{"value": "x"}', make_context())).outcome
    assert isinstance(outcome, Raised)
    assert not outcome.retryable
    assert "value: Input should be a valid integer" in outcome.error
    assert ran == []


async def test_a_cancellation_from_within_is_an_error_like_any_other() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        raise asyncio.CancelledError

    outcome = (await run_attempt(typed(f), b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert outcome.retryable
    assert "cancelled from within" in outcome.error


# A wrong Park


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    ("when", "state", "said"),
    [
        (datetime.now(UTC), {"step": 2}, "a dict for its state: it must be bytes"),
        (datetime.now(UTC), "step 2", "a str for its state: it must be bytes"),
        (datetime.now(UTC), b"x" * (2**24 + 1), "a state of 16777217 bytes, the limit is 16777216"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), b"", "lies beyond 9999-01-01"),
        (time(tzinfo=UTC), b"", "has a time that is not a datetime"),
        (None, b"", "has neither a time nor wake_on: the task would never go on"),
    ],
)
async def test_a_park_that_cannot_be_kept_fails_its_task(
    when: Any, state: Any, said: str, sync: bool
) -> None:
    def f(ctx: Context, payload: Any) -> Any:
        return Park(when, state)

    async def g(ctx: Context, payload: Any) -> Any:
        return Park(when, state)

    ended = await run_attempt(typed(f if sync else g), b"0", make_context(can_park=True))
    assert isinstance(ended.outcome, Raised)
    assert said in ended.outcome.error
    assert not ended.outcome.retryable


async def test_a_park_waits_for_nothing_but_a_time_and_its_inbox() -> None:
    async def listens(ctx: Context, payload: Any) -> Any:
        return Park(None, b"", wake_on="inbox")

    async def errs(ctx: Context, payload: Any) -> Any:
        return Park(None, b"", wake_on=cast("Any", "mail"))

    ended = await run_attempt(typed(listens), b"0", make_context(can_park=True))
    assert ended.outcome == Park(None, b"", "inbox")
    ended = await run_attempt(typed(errs), b"0", make_context(can_park=True))
    assert isinstance(ended.outcome, Raised)
    assert "is to be woken on 'mail': write wake_on=\"inbox\"" in ended.outcome.error


@pytest.mark.parametrize(
    "when",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime(9998, 12, 31, tzinfo=timezone(timedelta(hours=-14))),
    ],
)
async def test_a_park_far_in_the_past_or_future_is_kept(when: datetime) -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return Park(when, b"x" * 2**24)

    ended = await run_attempt(typed(f), b"0", make_context(can_park=True))
    assert ended.outcome == Park(when, b"x" * 2**24)

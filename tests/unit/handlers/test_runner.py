"""Running a handler once: outcomes, time-outs, stops."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, cast

import pytest
from pydantic import BaseModel, field_validator, model_serializer

from headrace.handlers import (
    Attempt,
    Context,
    Fatal,
    Park,
    Raised,
    Resources,
    Returned,
    Stopped,
    StopReason,
    handler,
    run_attempt,
)
from tests.unit.handlers.recording_host import make_context


class Number(BaseModel):
    """A payload."""

    value: int


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def typed(function: Any, **rules: Any) -> Any:
    return handler("greet", **rules)(function)


class Watched(Attempt):
    """An attempt that keeps its callbacks, in order."""

    def __init__(self, task_type: Any, pool: ThreadPoolExecutor) -> None:
        self.calls: list[str] = []
        super().__init__(
            task_type,
            make_context(),
            on_outcome=lambda _: self.calls.append("outcome"),
            on_gone=lambda _: self.calls.append("gone"),
            resources=Resources(threads=pool),
        )


async def start(task_type: Any, pool: ThreadPoolExecutor) -> Watched:
    """An attempt under way."""
    attempt = Watched(task_type, pool)
    attempt.start(asyncio.get_running_loop(), b"null")
    await asyncio.sleep(0)
    return attempt


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it asks for many things
            await asyncio.sleep(0.001)


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


# Time-outs


async def test_an_async_handler_past_its_time_out_is_cancelled() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        await asyncio.sleep(60)

    ctx = make_context()
    ended = await run_attempt(typed(f, timeout_seconds=0.01), b"0", ctx)
    assert isinstance(ended.outcome, Raised)
    assert ended.outcome.error == "TimeoutError: the handler took longer than 0.01 s"
    assert ended.outcome.retryable
    assert ended.still_running is None
    assert ctx.cancelled


async def test_a_time_out_is_retried_only_when_the_type_wants_it() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        await asyncio.sleep(60)

    task_type = typed(f, timeout_seconds=0.01, retry_on=(ValueError,))
    outcome = (await run_attempt(task_type, b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert not outcome.retryable


async def test_a_thread_past_its_time_out_is_reported_at_once_and_still_runs(
    threads: ThreadPoolExecutor,
) -> None:
    release = threading.Event()

    def f(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    ctx = make_context()
    ended = await run_attempt(
        typed(f, timeout_seconds=0.01), b"0", ctx, resources=Resources(threads=threads)
    )
    assert isinstance(ended.outcome, Raised)
    assert "took longer" in ended.outcome.error
    assert ctx.cancelled
    assert ended.still_running is not None
    assert not ended.still_running.done()
    release.set()
    await asyncio.wait_for(ended.still_running, 10)


async def test_a_handler_knows_its_deadline() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        assert ctx.deadline is not None
        return (ctx.deadline - datetime.now(UTC)).total_seconds()

    outcome = (await run_attempt(typed(f, timeout_seconds=50), b"0", make_context())).outcome
    assert isinstance(outcome, Returned)
    assert 49 < float(outcome.result) <= 50


async def test_a_handlers_own_time_outs_work_inside_of_it() -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "own"

    outcome = (await run_attempt(typed(f, timeout_seconds=30), b"0", make_context())).outcome
    assert outcome == Returned(b'"own"')


# Stops


async def test_a_stop_cancels_the_coroutine_and_waits_for_its_end(
    threads: ThreadPoolExecutor,
) -> None:
    tidied = []

    async def f(ctx: Context, payload: Any) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            tidied.append(True)

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED))
    assert attempt.calls == []
    await until(lambda: attempt.gone)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    assert tidied == [True]
    assert attempt.calls == ["outcome", "gone"]


async def test_a_coroutine_that_swallows_its_stop_is_reported_after_the_grace(
    threads: ThreadPoolExecutor,
) -> None:
    release = asyncio.Event()

    async def f(ctx: Context, payload: Any) -> Any:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=0.01)
    await until(lambda: attempt.outcome is not None)
    assert not attempt.gone
    release.set()
    await until(lambda: attempt.gone)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    assert attempt.calls == ["outcome", "gone"]


async def test_the_first_stop_decides_and_a_second_may_shorten_the_grace(
    threads: ThreadPoolExecutor,
) -> None:
    release = threading.Event()

    def f(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=60)
    attempt.stop(Stopped(StopReason.HANDED_BACK), grace_seconds=0)
    assert attempt.outcome == Stopped(StopReason.CANCELLED)
    release.set()
    await until(lambda: attempt.gone)
    assert attempt.calls == ["outcome", "gone"]


async def test_a_later_stop_never_lengthens_the_grace(threads: ThreadPoolExecutor) -> None:
    release = threading.Event()

    def f(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=0.02)
    attempt.stop(Stopped(StopReason.CANCELLED), grace_seconds=60)
    await until(lambda: attempt.outcome is not None)
    release.set()
    await until(lambda: attempt.gone)


async def test_a_value_returned_after_a_stop_does_not_count(threads: ThreadPoolExecutor) -> None:
    def f(ctx: Context, payload: Any) -> Any:
        ctx.cancelled.wait(30)
        return "half of it"

    attempt = await start(typed(f), threads)
    attempt.stop(Stopped(StopReason.HANDED_BACK))
    await until(lambda: attempt.gone)
    assert attempt.outcome == Stopped(StopReason.HANDED_BACK)


async def test_a_stop_after_the_outcome_changes_nothing(threads: ThreadPoolExecutor) -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return 1

    attempt = await start(typed(f), threads)
    await until(lambda: attempt.gone)
    attempt.stop(Stopped(StopReason.CANCELLED))
    assert attempt.outcome == Returned(b"1")
    assert not attempt.ctx.cancelled


async def test_a_sync_handler_that_still_waits_for_a_thread_never_runs_once_stopped() -> None:
    release, ran = threading.Event(), []

    def busy(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    def f(ctx: Context, payload: Any) -> Any:
        ran.append(True)

    with ThreadPoolExecutor(1) as pool:
        first, second = await start(typed(busy), pool), await start(typed(f), pool)
        second.stop(Stopped(StopReason.CANCELLED), grace_seconds=0)
        release.set()
        await until(lambda: first.gone and second.gone)
    assert ran == []


async def test_a_cancelled_caller_stops_its_attempt() -> None:
    stopped = asyncio.Event()

    async def f(ctx: Context, payload: Any) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    caller = asyncio.create_task(run_attempt(typed(f), b"0", make_context()))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(stopped.wait(), 10)


async def test_an_attempt_leaves_no_timer_behind(threads: ThreadPoolExecutor) -> None:
    async def f(ctx: Context, payload: Any) -> Any:
        return 1

    for _ in range(50):
        await run_attempt(
            typed(f, timeout_seconds=3600),
            b"0",
            make_context(),
            resources=Resources(threads=threads),
        )
    loop = asyncio.get_running_loop()
    live = [h for h in getattr(loop, "_scheduled", []) if not h.cancelled()]
    assert live == []


# What comes from the payload's and the result's own code


class Grumpy(BaseModel):
    """Its checks raise what no check should."""

    error: str

    @field_validator("error")
    @classmethod
    def grumble(cls, value: str) -> str:
        raise {"key": KeyError, "type": TypeError, "exit": SystemExit}[value](value)


@pytest.mark.parametrize(
    ("name", "said"), [("key", "KeyError: 'key'"), ("type", "TypeError: "), ("exit", "SystemExit")]
)
async def test_a_model_whose_check_raises_fails_its_task_and_nothing_else(
    name: str, said: str
) -> None:
    ran = []

    async def f(ctx: Context, payload: Grumpy) -> None:
        ran.append(payload)

    ended = await run_attempt(typed(f), b'{"error": "%s"}' % name.encode(), make_context())
    assert isinstance(ended.outcome, Raised)
    assert ended.outcome.error.startswith(said)
    assert not ended.outcome.retryable
    assert ended.outcome.exception is not None
    assert ended.still_running is None
    assert ran == []


class Sulky(BaseModel):
    """It cannot be written."""

    @model_serializer
    def write(self) -> Any:
        raise SystemExit("nothing")


@pytest.mark.parametrize("sync", [False, True])
async def test_a_result_whose_writing_raises_fails_its_task(sync: bool) -> None:
    def f(ctx: Context, payload: Any) -> Any:
        return Sulky()

    async def g(ctx: Context, payload: Any) -> Any:
        return Sulky()

    ended = await asyncio.wait_for(run_attempt(typed(f if sync else g), b"0", make_context()), 10)
    assert isinstance(ended.outcome, Raised)
    assert "cannot be written as JSON" in ended.outcome.error
    assert not ended.outcome.retryable


# A wrong Park


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    ("when", "state", "said"),
    [
        (datetime.now(UTC), {"step": 2}, "a dict for its state: it must be bytes"),
        (datetime.now(UTC), "step 2", "a str for its state: it must be bytes"),
        (datetime.now(UTC), b"x" * (2**24 + 1), "a state of 16777217 bytes, the limit is 16777216"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), b"", "lies beyond 9999-01-01"),
        (time(tzinfo=UTC), b"", "has a time that is no datetime"),
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


# What is hard to judge, to stop or to write


def wide_group(depth: int) -> BaseException:
    """A group that holds one twice, which holds one twice, and so on."""
    error: Exception = ValueError("in the middle")
    for _ in range(depth):
        error = ExceptionGroup("g", [error, error])
    return error


class OddClass(Exception):
    """Says nothing of its class."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, value: Any) -> None: ...


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("make", [OddClass, lambda: wide_group(60)])
async def test_an_error_that_is_hard_to_judge_ends_its_attempt_soon(
    threads: ThreadPoolExecutor, sync: bool, make: Any
) -> None:
    def fail(ctx: Context, payload: Any) -> Any:
        raise make()

    async def fail_later(ctx: Context, payload: Any) -> Any:
        fail(ctx, payload)

    attempt = await start(typed(fail if sync else fail_later), threads)
    await until(lambda: attempt.gone)
    assert attempt.calls == ["outcome", "gone"]
    assert isinstance(attempt.outcome, Raised)
    assert attempt.outcome.error


@pytest.mark.parametrize("sync", [True, False])
async def test_an_attempt_that_is_stopped_before_its_first_step_leaves(
    threads: ThreadPoolExecutor, sync: bool
) -> None:
    def f(ctx: Context, payload: Any) -> Any: ...

    async def g(ctx: Context, payload: Any) -> Any: ...

    attempt = Watched(typed(f if sync else g), threads)
    attempt.start(asyncio.get_running_loop(), b"null")
    attempt.stop(Stopped(StopReason.CANCELLED))
    await until(lambda: attempt.gone)
    assert attempt.calls == ["outcome", "gone"]
    assert attempt.outcome == Stopped(StopReason.CANCELLED)


async def test_a_result_that_never_ends_is_refused_for_its_size(
    threads: ThreadPoolExecutor,
) -> None:
    def f(ctx: Context, payload: Any) -> Any:
        return itertools.count()

    ended = await run_attempt(
        typed(f), b"0", make_context(), resources=Resources(threads=threads, max_result_bytes=1000)
    )
    assert isinstance(ended.outcome, Raised)
    assert "the limit is 1000" in ended.outcome.error

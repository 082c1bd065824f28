"""Middleware: around every attempt, sees what comes of it, and may change that."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from headrace.handlers import (
    CallNext,
    Context,
    Fatal,
    Handled,
    Middleware,
    Outcome,
    Park,
    Raised,
    Resources,
    Returned,
    handler,
    run_attempt,
)
from tests.unit.handlers.recording_host import make_context

Plain = Callable[[Context, Any], Any]


class Number(BaseModel):
    """A payload."""

    value: int


def both(function: Plain) -> list[Any]:
    """A handler as a plain function, and as an async one."""

    async def run_async(ctx: Context, payload: Any) -> Any:
        return function(ctx, payload)

    run_async.__annotations__["payload"] = function.__annotations__.get("payload", Any)
    return [function, run_async]


async def run(
    function: Callable[..., Any], *middleware: Middleware, payload: bytes = b"0", **rules: Any
) -> Outcome:
    resources = Resources(middleware=middleware)
    try:
        ended = await run_attempt(
            handler("greet", **rules)(function), payload, make_context(), resources=resources
        )
        return ended.outcome
    finally:
        await resources.close()


class Recorder:
    """A middleware that keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    async def __call__(self, ctx: Context, call_next: CallNext) -> Handled:
        self.seen.append(ctx.task_id)
        try:
            handled = await call_next()
        except BaseException as error:
            self.seen.append(error)
            raise
        self.seen.append(handled)
        return handled


def returning(ctx: Context, payload: Any) -> Any:
    return {"a": 1}


def raising(ctx: Context, payload: Any) -> Any:
    raise OSError("the disk is gone")


@pytest.mark.parametrize("function", both(returning))
async def test_it_sees_the_context_and_what_the_handler_returned(function: Plain) -> None:
    recorder = Recorder()
    assert await run(function, recorder) == Returned(b'{"a":1}')
    assert recorder.seen == [make_context().task_id, Returned(b'{"a":1}')]


@pytest.mark.parametrize("function", both(raising))
async def test_it_sees_the_handlers_own_error(function: Plain) -> None:
    recorder = Recorder()
    outcome = await run(function, recorder, retry_on=(OSError,))
    assert isinstance(outcome, Raised)
    assert (outcome.error, outcome.retryable) == ("OSError: the disk is gone", True)
    assert outcome.exception is recorder.seen[1]


@pytest.mark.parametrize("function", both(lambda ctx, payload: object()))
async def test_a_result_that_cannot_be_stored_is_an_error_to_it(function: Plain) -> None:
    recorder = Recorder()
    function.__annotations__["payload"] = Any
    outcome = await run(function, recorder)
    assert isinstance(outcome, Raised)
    assert "the result cannot be written as JSON" in outcome.error
    assert not outcome.retryable
    assert isinstance(recorder.seen[1], Fatal)


@pytest.mark.parametrize("sync", [True, False])
async def test_a_payload_that_does_not_fit_is_an_error_to_it(sync: bool) -> None:
    def f(ctx: Context, payload: Number) -> Any: ...

    async def g(ctx: Context, payload: Number) -> Any: ...

    recorder = Recorder()
    outcome = await run(f if sync else g, recorder, payload=b"{}")
    without = await run(f if sync else g, payload=b"{}")
    assert outcome == without
    assert isinstance(recorder.seen[1], Fatal)


async def test_the_first_is_the_outermost() -> None:
    calls: list[str] = []

    def named(name: str) -> Middleware:
        async def middleware(ctx: Context, call_next: CallNext) -> Handled:
            calls.append(f"{name} in")
            handled = await call_next()
            calls.append(f"{name} out")
            return handled

        return middleware

    await run(returning, named("outer"), named("inner"))
    assert calls == ["outer in", "inner in", "inner out", "outer out"]


@pytest.mark.parametrize("function", both(returning))
async def test_its_error_is_the_attempts_error(function: Plain) -> None:
    async def locked(ctx: Context, call_next: CallNext) -> Handled:
        raise ConnectionError("no lock to be had")

    outcome = await run(function, locked, retry_on=(ConnectionError,))
    assert isinstance(outcome, Raised)
    assert (outcome.error, outcome.retryable) == ("ConnectionError: no lock to be had", True)


async def test_it_may_replace_what_the_handler_returned() -> None:
    async def replacing(ctx: Context, call_next: CallNext) -> Handled:
        await call_next()
        return Returned(b'"other"')

    assert await run(returning, replacing) == Returned(b'"other"')


async def test_one_that_forgets_to_return_what_it_got_is_told_so() -> None:
    async def forgetful(ctx: Context, call_next: CallNext) -> Any:
        await call_next()

    outcome = await run(returning, forgetful)
    assert isinstance(outcome, Raised)
    assert "it must return what call_next() gave it" in outcome.error


async def test_a_park_passes_through() -> None:
    recorder = Recorder()
    from datetime import UTC, datetime

    park = Park(datetime(2030, 1, 1, tzinfo=UTC), b"")

    def f(ctx: Context, payload: Any) -> Park:
        return park

    assert await run(f, recorder) is park
    assert recorder.seen[1] is park


@pytest.mark.parametrize("sync", [True, False])
async def test_what_it_sets_for_the_context_of_the_code_the_handler_finds(sync: bool) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="none")

    async def traced(ctx: Context, call_next: CallNext) -> Handled:
        variable.set("a span")
        return await call_next()

    def f(ctx: Context, payload: Any) -> str:
        return variable.get()

    async def g(ctx: Context, payload: Any) -> str:
        return variable.get()

    assert await run(f if sync else g, traced) == Returned(b'"a span"')


async def test_a_time_out_cancels_it_and_its_clean_up_runs() -> None:
    recorder = Recorder()

    async def endless(ctx: Context, payload: Any) -> None:
        await asyncio.Event().wait()

    outcome = await run(endless, recorder, timeout_seconds=0.01)
    assert isinstance(outcome, Raised)
    assert outcome.error.startswith("TimeoutError")
    assert isinstance(recorder.seen[1], asyncio.CancelledError)


async def test_around_a_thread_it_ends_when_the_thread_does() -> None:
    recorder, release = Recorder(), threading.Event()

    def stuck(ctx: Context, payload: Any) -> None:
        release.wait(20)

    resources = Resources(middleware=[recorder])
    task_type = handler("stuck", timeout_seconds=0.01)(stuck)
    ended = await run_attempt(task_type, b"0", make_context(), resources=resources)
    assert isinstance(ended.outcome, Raised)
    assert ended.outcome.error.startswith("TimeoutError")
    assert len(recorder.seen) == 1
    assert ended.still_running is not None
    release.set()
    await asyncio.wait_for(ended.still_running, 10)
    assert isinstance(recorder.seen[1], asyncio.CancelledError)
    await resources.close()


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt])
async def test_whatever_a_thread_raises_ends_the_attempt_alone(error: type[BaseException]) -> None:
    def f(ctx: Context, payload: Any) -> None:
        raise error

    outcome = await asyncio.wait_for(run(f, Recorder()), 10)
    assert isinstance(outcome, Raised)
    assert error.__name__ in outcome.error


def test_its_type_takes_a_plain_async_function() -> None:
    async def plain(
        ctx: Context, call_next: Callable[[], Awaitable[Returned | Park]]
    ) -> Returned | Park:
        return await call_next()

    middleware: Middleware = plain
    assert middleware is plain

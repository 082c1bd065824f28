"""Running a handler once: payloads, results and errors whose own code does as it likes."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel, field_validator, model_serializer

from headrace.handlers import (
    Context,
    Raised,
    Resources,
    Stopped,
    StopReason,
    run_attempt,
)
from tests.unit.handlers.attempts import Watched, start, typed, until
from tests.unit.handlers.recording_host import make_context

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

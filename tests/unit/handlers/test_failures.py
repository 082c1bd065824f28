"""What is said of a raised error, whatever its own code does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from headrace.handlers import Fatal, Raised, Returned, run_attempt
from headrace.handlers.errors import RemoteTraceback
from headrace.handlers.failures import describe, holds_fatal, traceback_of, type_name
from headrace.limits import MAX_RAISED_CHARACTERS
from tests.unit.handlers.attempts import typed
from tests.unit.handlers.recording_host import make_context


def nested(error: BaseException, levels: int) -> BaseException:
    for _ in range(levels):
        error = BaseExceptionGroup("g", [error])
    return error


def raising(error: BaseException) -> type[Exception]:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise error

    return Hostile


@pytest.mark.parametrize(
    "broken", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt()]
)
def test_a_message_that_raises_is_named_with_what_it_raised(broken: BaseException) -> None:
    text = describe(raising(broken)())
    assert text == f"Hostile: (its message cannot be read: {type(broken).__name__})"


def test_groups_deeper_than_the_stack_are_described_and_judged() -> None:
    error = nested(Fatal("never again"), 5_000)
    assert describe(error).startswith("ExceptionGroup: g (1 sub-exception): ")
    assert len(describe(error)) <= MAX_RAISED_CHARACTERS
    assert holds_fatal(error)
    assert not holds_fatal(nested(ValueError(), 5_000))


def test_groups_are_told_in_the_order_of_reading() -> None:
    inner = ExceptionGroup("in", [ValueError("a"), ValueError("b")])
    assert describe(ExceptionGroup("out", [inner, OSError("c")])) == (
        "ExceptionGroup: out (2 sub-exceptions): "
        "ExceptionGroup: in (2 sub-exceptions): ValueError: a; ValueError: b; OSError: c"
    )


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    "error", [GeneratorExit(), nested(ValueError(), 400), raising(SystemExit(1))()]
)
async def test_every_attempt_is_decided_whatever_it_raises(
    error: BaseException, sync: bool
) -> None:
    def sync_handler(ctx: Any, payload: Any) -> Any:
        raise error

    async def async_handler(ctx: Any, payload: Any) -> Any:
        raise error

    task_type = typed(sync_handler if sync else async_handler)
    ended = await asyncio.wait_for(run_attempt(task_type, b"0", make_context()), 5)
    assert isinstance(ended.outcome, Raised)
    assert ended.still_running is None


async def test_a_sync_handlers_lazy_result_runs_in_its_thread() -> None:
    def lazy(ctx: Any, payload: Any) -> Any:
        return (threading.current_thread() is threading.main_thread() for _ in range(2))

    outcome = (await run_attempt(typed(lazy), b"0", make_context())).outcome
    assert outcome == Returned(b"[false,false]")


async def test_a_sync_handlers_payload_is_checked_in_its_thread() -> None:
    class Payload(BaseModel):
        where: str = ""

        @field_validator("where")
        @classmethod
        def look(cls, _: str) -> str:
            return threading.current_thread().name

    def handler(ctx: Any, payload: Any) -> str:
        return str(payload.where)

    handler.__annotations__["payload"] = Payload
    outcome = (await run_attempt(typed(handler), b'{"where": "x"}', make_context())).outcome
    assert isinstance(outcome, Returned)
    assert outcome.result.startswith(b'"headrace-handler')


def test_an_error_is_named_by_its_class_and_module() -> None:
    class Local(Exception):
        pass

    class Hostile(type):
        def __getattribute__(cls, name: str) -> Any:
            raise SystemExit(name)

    class Unspeakable(Exception, metaclass=Hostile):
        pass

    assert type_name(ValueError("x")) == "ValueError"
    assert type_name(Fatal()) == "headrace.handlers.errors.Fatal"
    assert type_name(Local()).endswith(
        "test_failures.test_an_error_is_named_by_its_class_and_module.<locals>.Local"
    )
    assert type_name(Unspeakable()) == "Unspeakable"


async def test_what_is_told_of_an_attempt_names_the_errors_class() -> None:
    def broken(ctx: Any, payload: Any) -> Any:
        raise LookupError("gone")

    outcome = (await run_attempt(typed(broken), b"0", make_context())).outcome
    assert isinstance(outcome, Raised)
    assert outcome.error_type == "LookupError"
    assert outcome.exception is not None
    assert traceback_of(outcome.exception).endswith('raise LookupError("gone")\nLookupError: gone')
    assert traceback_of(RemoteTraceback("as a child saw it")) == "as a child saw it"

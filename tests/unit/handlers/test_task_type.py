"""Declaring task types: payload models, rules, and the messages for mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field

from headrace.handlers import Context, PayloadInvalid, RegistrationError, TaskType, handler
from tests.unit.handlers.recording_host import make_context


class Greeting(BaseModel):
    """A payload."""

    name: str = Field(min_length=1)
    times: int = 1


@dataclass
class Point:
    """A payload that is a dataclass."""

    x: int
    y: int


@handler("greet", max_retries=7, timeout_seconds=1.5, retry_on=(OSError,))
async def greet(ctx: Context, payload: Greeting) -> str:
    """Say hello."""
    return f"hello {payload.name}" * payload.times


def test_a_decorated_function_is_a_task_type_and_can_still_be_called() -> None:
    assert isinstance(greet, TaskType)
    assert (greet.name, greet.max_retries, greet.timeout_seconds) == ("greet", 7, 1.5)
    assert greet.is_async
    assert greet.__doc__ == "Say hello."
    coroutine = greet(make_context(), Greeting(name="you"))
    coroutine.close()


def test_the_payload_becomes_the_model_of_the_annotation() -> None:
    assert greet.validate(b'{"name": "you"}') == Greeting(name="you", times=1)


def test_dataclasses_and_any_are_payload_models_too() -> None:
    def place(ctx: Context, payload: Point) -> None: ...
    def anything(ctx: Context, payload: Any) -> None: ...

    assert handler("place")(place).validate(b'{"x": 1, "y": 2}') == Point(1, 2)
    loose = handler("anything")(anything)
    assert loose.validate(b"[1, null]") == [1, None]
    assert not loose.is_async


def test_an_object_with_an_async_call_is_an_async_handler() -> None:
    class Resizer:
        async def __call__(self, ctx: Context, payload: Greeting) -> int:
            return payload.times

    task_type = handler("resize")(Resizer())
    assert task_type.is_async
    assert task_type.validate(b'{"name": "x"}') == Greeting(name="x")


def test_an_invalid_payload_names_the_fields_and_keeps_the_input_to_itself() -> None:
    with pytest.raises(PayloadInvalid) as caught:
        greet.validate(b'{"name": "", "times": "secret-value"}')
    assert [error["loc"] for error in caught.value.errors] == [("name",), ("times",)]
    assert "name: String should have at least 1 character" in str(caught.value)
    assert "secret-value" not in repr(caught.value.errors) + str(caught.value)


def test_a_payload_that_is_no_json_is_invalid() -> None:
    with pytest.raises(PayloadInvalid, match="Invalid JSON"):
        greet.validate(b"{")


def test_the_payload_has_a_json_schema() -> None:
    schema = greet.payload_schema()
    assert schema["type"] == "object"
    assert schema["required"] == ["name"]


def test_retries_go_by_the_kind_of_error() -> None:
    assert greet.wants_retry(ConnectionError())
    assert not greet.wants_retry(ValueError())


@pytest.mark.parametrize("name", ["", "Resize", "1st", "a b", "a,b", "a/b", "é", "x" * 65])
def test_a_bad_name_is_refused(name: str) -> None:
    def f(ctx: Context, payload: Any) -> None: ...

    with pytest.raises(RegistrationError, match="not a name for a task type"):
        handler(name)(f)


def test_a_decorator_without_its_name_is_told_how_to_write_it() -> None:
    def resize(ctx: Context, payload: Any) -> None: ...

    bare: Any = handler
    with pytest.raises(RegistrationError, match=r'resize has no name: write @handler\("resize"\)'):
        bare(resize)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 101}, "max_retries"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"retry_on": [OSError]}, "retry_on"),
        ({"retry_on": ("OSError",)}, "retry_on"),
        ({"backoff": 5}, "backoff must be a Backoff"),
    ],
)
def test_a_rule_out_of_bounds_is_refused(rules: dict[str, Any], message: str) -> None:
    def f(ctx: Context, payload: Any) -> None: ...

    with pytest.raises(RegistrationError, match=message):
        handler("f", **rules)(f)


def no_payload(ctx: Context) -> None: ...
def too_many(ctx: Context, payload: Any, more: int) -> None: ...
def unannotated(ctx: Context, payload) -> None: ...  # type: ignore[no-untyped-def]
def unknown_model(ctx: Context, payload: Missing) -> None: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_payload, "takes two arguments"),
        (too_many, "takes two arguments"),
        (unannotated, "annotate 'payload'"),
        (unknown_model, "cannot be read"),
        (42, "a handler is a function"),
    ],
)
def test_an_unusable_function_is_refused(function: Any, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        handler("f")(function)


def test_a_model_that_pydantic_cannot_check_is_refused() -> None:
    class Opaque:
        pass

    def f(ctx: Context, payload: Any) -> None: ...

    f.__annotations__["payload"] = Opaque
    with pytest.raises(RegistrationError, match="pydantic cannot check"):
        handler("f")(f)


class Callback(BaseModel):
    """Pydantic can check it, and has no schema for it."""

    call: Callable[[int], int]


class Odd(BaseModel):
    """Its schema's own code raises."""

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        raise KeyError("odd")


def test_a_model_without_a_json_schema_is_refused_in_a_sentence() -> None:
    def f(ctx: Context, payload: Callback) -> None: ...

    with pytest.raises(RegistrationError, match="call_back: pydantic cannot make a JSON Schema of"):
        handler("call_back")(f)


def test_a_model_whose_schema_code_raises_is_refused_in_a_sentence() -> None:
    def f(ctx: Context, payload: Odd) -> None: ...

    with pytest.raises(RegistrationError, match="cannot make a JSON Schema of"):
        handler("odd")(f)

"""`@function`: what it makes of a function, and how packages bring theirs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, Field

from headrace import Function, WorkflowError, function
from headrace.handlers import (
    DuplicateFunction,
    EntryPointBroken,
    RegistrationError,
    load_functions,
)


class Line(BaseModel):
    """A line of an order."""

    pieces: int = Field(ge=1)
    price: Decimal


@function("order_total")
def order_total(lines: list[Line], *, on: date, copy: bool = False) -> dict[str, Any]:
    total = sum(line.pieces * line.price for line in lines)
    return {"total": total, "on": on, "copy": copy}


async def test_arguments_are_checked_and_converted_and_the_result_is_json_data() -> None:
    lines = [{"pieces": 2, "price": "1.50"}]
    result = await order_total.call({"lines": lines, "on": "2026-01-02"})
    assert result == {"total": "3.00", "on": "2026-01-02", "copy": False}
    assert order_total([Line(pieces=1, price=Decimal(2))], on=date(2026, 1, 2))["total"] == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"on": "2026-01-02"}, "lines: Field required"),
        ({"lines": [{"pieces": 0, "price": 1}], "on": "2026-01-02"}, "lines.0.pieces: "),
        ({"lines": [], "on": "2026-01-02", "more": 1}, "more: Extra inputs"),
    ],
)
async def test_arguments_that_do_not_fit_are_an_error_that_names_them(
    arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(WorkflowError) as caught:
        await order_total.call(arguments)
    assert caught.value.type.endswith("/validation")
    assert f"the function 'order_total': {reason}" in caught.value.detail


def test_its_arguments_have_a_schema() -> None:
    schema = order_total.arguments_schema()
    assert list(schema["properties"]) == ["lines", "on", "copy"]
    assert schema["required"] == ["lines", "on"]
    assert order_total.parameters == {"lines": True, "on": True, "copy": False}


async def test_a_plain_function_runs_in_a_thread_and_an_async_one_in_the_event_loop() -> None:
    @function("plain")
    def plain() -> str:
        return threading.current_thread().name

    @function("awaited")
    async def awaited() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert (await plain.call({})).startswith("function")
    assert await awaited.call({}) == threading.current_thread().name


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_takes_too_long_is_a_timeout(is_async: bool) -> None:
    async def wait() -> None:
        await asyncio.sleep(5)

    made: Function[[], Any] = Function(
        "slow", wait if is_async else lambda: time.sleep(0.3), timeout_seconds=0.05
    )
    with pytest.raises(WorkflowError, match=r"not over within 0\.05 s") as caught:
        await made.call({})
    assert caught.value.type.endswith("/timeout")


async def test_an_error_is_one_of_the_language_and_one_of_its_own_passes() -> None:
    @function("divide")
    def divide(by: int) -> float:
        if by < 0:
            raise WorkflowError(type="https://shop.example.com/negative", status=422)
        return 1 / by

    with pytest.raises(WorkflowError, match="'divide': ZeroDivisionError") as caught:
        await divide.call({"by": 0})
    assert caught.value.type.endswith("/runtime")
    assert not caught.value.retryable
    with pytest.raises(WorkflowError) as caught:
        await divide.call({"by": -1})
    assert caught.value.type == "https://shop.example.com/negative"


@pytest.mark.parametrize("result", [object(), float("nan")])
async def test_a_result_that_is_no_json_is_an_error(result: object) -> None:
    with pytest.raises(WorkflowError, match="'odd'") as caught:
        await Function("odd", lambda: result).call({})
    assert caught.value.type.endswith("/runtime")


def _positional(net: float, /) -> None: ...


def _many(*nets: float) -> None: ...


def _bare(net) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Function("Vat", order_total.function), "is not a name for a function"),
        (lambda: Function("http", order_total.function), "the language's own"),
        (lambda: Function("vat", _positional), "cannot be given by name"),
        (lambda: Function("vat", _many), "cannot be given by name"),
        (lambda: Function("vat", _bare), "annotate 'net'"),
        (lambda: Function("vat", order_total.function, timeout_seconds=0), "must be above 0"),
        (lambda: function(_bare), 'write @function\\("_bare"\\)'),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_called_is_refused_when_it_is_declared(
    make: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(RegistrationError, match=reason):
        make()


class _Points:
    """Stands for what is installed."""

    def __init__(self, **targets: object) -> None:
        self._targets = targets

    def __call__(self, group: str) -> list[Any]:
        assert group == "headrace.functions"
        return [
            SimpleNamespace(name=name, value=f"shop:{name}", dist=None, load=lambda it=it: it)
            for name, it in self._targets.items()
        ]


def _installed(monkeypatch: pytest.MonkeyPatch, **targets: object) -> None:
    monkeypatch.setattr("headrace.handlers.entry_points.entry_points", _Points(**targets))


def test_packages_name_theirs_in_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, total=order_total)
    assert load_functions() == {"order_total": order_total}
    point = EntryPoint("total", f"{__name__}:order_total", "headrace.functions")
    assert point.load() is order_total


def test_two_of_one_name_and_what_is_no_function_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _installed(monkeypatch, a=order_total, b=Function("order_total", lambda: 1))
    with pytest.raises(DuplicateFunction, match="'order_total' is registered twice"):
        load_functions()
    _installed(monkeypatch, a=print)
    with pytest.raises(EntryPointBroken, match="decorated with @function"):
        load_functions()

"""`call` (DSL reference, "Call") of functions: those of packages, and those of `use.functions`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace import function
from headrace.workflows import DefinitionError, Workflow, parse
from tests.unit.workflows.harness import Bench, document

CALLS: list[float] = []


@function("vat")
def vat(net: float, rate: float = 0.19) -> dict[str, float]:
    CALLS.append(net)
    return {"vat": round(net * rate, 2)}


@pytest.fixture(autouse=True)
def calls() -> list[float]:
    CALLS.clear()
    return CALLS


def define(tasks: Any, **more: Any) -> Workflow:
    text = msgspec.json.encode(document(tasks, **more))
    return parse(text, "sample.json", functions={"vat": vat})


def test_what_it_is_called_with_is_checked_when_the_definition_is_read() -> None:
    for call, reason in [
        ({"call": "vatt", "with": {"net": 1}}, "Did you mean 'vat'?"),
        ({"call": "vat", "with": {"nett": 1}}, "Did you mean 'net'?"),
        ({"call": "vat", "with": {"rate": 1}}, "`net` is missing in `with`"),
        ({"call": "vat"}, "`with` is missing: 'vat' needs 'net'"),
        ({"call": "vat", "with": "${ . }"}, "`with` must be a mapping"),
    ]:
        with pytest.raises(DefinitionError) as caught:
            define([{"step": call}])
        faults = [str(fault) for fault in (caught.value, *caught.value.others)]
        assert any(reason in fault for fault in faults), faults


async def test_a_function_of_a_package_is_called_with_its_arguments(bench: Bench) -> None:
    workflow = define([{"tax": {"call": "vat", "with": {"net": "${ .price * 2 }"}}}])
    assert await bench.output(workflow, {"price": 50}) == {"vat": 19.0}


async def test_its_errors_name_the_task(bench: Bench) -> None:
    error = await bench.error(
        define([{"tax": {"call": "vat", "with": {"net": "${ .price }"}}}]), {}
    )
    assert error.instance == "/do/0/tax"
    assert error.type.endswith("/validation")
    assert "net: Input should be a valid number" in error.detail


async def test_it_is_called_once_however_often_the_run_goes_on(
    bench: Bench, calls: list[float]
) -> None:
    workflow = define(
        [
            {"tax": {"call": "vat", "with": {"net": 100}, "output": {"as": ".vat"}}},
            {"rest": {"wait": {"minutes": 5}}},
            {"answer": {"set": {"vat": "${ . }"}}},
        ]
    )
    bench.can_park = True
    parked = await bench.parked(workflow)
    assert bench.unpark_at is not None
    bench.clock = bench.unpark_at
    outcome = await bench.execute(workflow, saved=parked)
    assert outcome.output == {"vat": 19.0}  # type: ignore[union-attr]
    assert calls == [100]


USE = {
    "functions": {
        "gross": {
            "do": [
                {"tax": {"call": "vat", "with": {"net": "${ .net }"}}},
                {"add": {"set": {"gross": "${ .vat + $context.net }"}}},
            ]
        },
        "twice": {"call": "gross", "with": {"net": "${ .net * 2 }"}},
    }
}


async def test_a_function_of_the_workflow_is_a_task_with_an_input(bench: Bench) -> None:
    workflow = define(
        [
            {"keep": {"set": {"net": 10}, "export": {"as": "."}}},
            {"one": {"call": "gross", "with": {"net": "${ .net }"}}},
        ],
        use=USE,
    )
    assert await bench.output(workflow) == {"gross": 11.9}


async def test_a_function_may_call_those_before_it(bench: Bench) -> None:
    workflow = define([{"both": {"call": "twice", "with": {"net": 5}}}], use=USE)
    assert await bench.output(workflow) == {"gross": 1.9}  # no context to add


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        ({"a": {"call": "a"}}, "`call` names 'a', which is no function"),
        ({"a": {"call": "b"}, "b": {"set": {"x": 1}}}, "`call` names 'b', which is no function"),
        ({"http": {"set": {"x": 1}}}, "cannot be named 'http'"),
        ({"a": {"set": {"x": 1}, "then": "b"}}, "no task of this list has that name"),
        ({"a": {"sett": {"x": 1}}}, "Did you mean 'set'?"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused(functions: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define([{"step": {"set": {"x": 1}}}], use={"functions": functions})
    assert reason in str(caught.value)

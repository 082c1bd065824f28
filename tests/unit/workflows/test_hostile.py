"""Definitions and inputs that would exhaust a worker end soon, with an error that says why."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.client.runtimes import new_runtime
from headrace.settings.processes import EvaluationSettings, WorkflowLimits, WorkflowSettings
from headrace.workflows import DefinitionError, RunLimits, parse
from headrace.workflows.expressions import Checker
from headrace.workflows.steps import STEP_TYPES
from tests.unit.workflows.harness import Bench, define, document
from tests.unit.workflows.strategies import task_lists

HEAD = "document: {dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0'}\n"
FAILS = {"fails": {"raise": {"error": {"type": "https://a.example/", "status": 400}}}}


def nested(depth: int, around: Any) -> Any:
    task: Any = {"set": {"x": 1}}
    for _ in range(depth):
        task = around(task)
    return [{"a": task}]


@pytest.mark.parametrize(
    "around",
    [
        lambda task: {"do": [{"a": task}]},
        lambda task: {"for": {"in": "[1]"}, "do": [{"a": task}]},
        lambda task: {"try": [{"a": task}], "catch": {}},
        lambda task: {"try": [FAILS], "catch": {"do": [{"a": task}]}},
    ],
    ids=["do", "for", "try", "catch"],
)
async def test_tasks_nested_as_deeply_as_a_file_may_be_run_and_deeper_ones_are_refused(
    bench: Bench, around: Any
) -> None:
    assert await bench.output(define(nested(14, around))) == {"x": 1}
    with pytest.raises(DefinitionError, match="nested more than 64 levels deep"):
        define(nested(100, around))


def test_aliases_of_aliases_are_counted_as_often_as_they_appear() -> None:
    lines = ["metadata: &a0 {x: 1}"]
    lines += [f"m{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    text = f"{HEAD}do:\n  - a:\n      set:\n        " + "\n        ".join(lines)
    with pytest.raises(DefinitionError, match="the file holds more than 100000 values"):
        parse(text.encode(), "a.yaml")


@pytest.fixture
async def hasty() -> AsyncIterator[Bench]:
    """A bench that gives expressions little time."""
    evaluation = EvaluationSettings(seconds=0.2, memory_bytes=128 * 1_048_576)
    runtime = new_runtime(WorkflowSettings(), WorkflowLimits(), evaluation)
    yield Bench(runtime)
    await runtime.close()


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (".n | [range(.)] | length", "WORKFLOW_EVALUATION_SECONDS"),
        (".n as $n | def f: if $n == 0 then . else f end; f", "WORKFLOW_EVALUATION_SECONDS"),
        ('"ab" * .n', "WORKFLOW_EVALUATION_MEMORY_BYTES"),
        ('[limit(40; repeat("a"))] | add | test("^(((a+)+)+)+$(?<!a)")', ""),
        ("[range(300)] | combinations(3)", "several results"),
    ],
)
async def test_a_jq_bomb_is_one_error(hasty: Bench, expression: str, reason: str) -> None:
    workflow = define([{"bomb": {"set": {"x": f"${{ {expression} }}"}}}])
    error = await hasty.error(workflow, {"n": 1_000_000_000})
    assert reason in error.detail
    assert error.instance == "/do/0/bomb"


ENDLESS = [
    [{"a": {"set": {"x": 1}, "then": "a"}}],
    [{"a": {"set": {"x": 1}}}, {"b": {"switch": [{"back": {"then": "a"}}]}}],
    [{"a": {"try": [{"b": {"set": {"x": 1}, "then": "b"}}], "catch": {}}}],
    [{"a": {"try": [FAILS], "catch": {"then": "a"}}}],
    [{"a": {"try": [FAILS],
            "catch": {"retry": {"limit": {"attempt": {"count": 10**9}}}}}}],
    [{"a": {"try": [{"b": {"try": [FAILS],
                           "catch": {"retry": {"limit": {"attempt": {"count": 10**9}}}}}}],
            "catch": {"retry": {"limit": {"duration": "P1D"}}}}}],
]  # fmt: skip


@pytest.mark.parametrize("tasks", ENDLESS, ids=range(len(ENDLESS)))
async def test_what_goes_round_for_ever_is_noticed_and_no_catch_goes_on(
    bench: Bench, tasks: Any
) -> None:
    bench.limits = RunLimits(max_steps=300)
    error = await bench.error(define(tasks))
    assert "301 steps without a call or a wait" in error.detail
    assert "WORKFLOW_MAX_STEPS" in error.detail
    assert len(bench.steps) <= 301


def test_a_function_that_calls_itself_is_refused() -> None:
    functions = {"again": {"call": "again"}}
    with pytest.raises(DefinitionError, match="`call` names 'again'"):
        define([{"a": {"call": "again"}}], use={"functions": functions})


SIDE_BY_SIDE = [
    {"fork": {"branches": [{f"b{n}": {"wait": {"seconds": 1}}} for n in range(400)]}},
    {
        "for": {"in": "[range(10000)]"},
        "metadata": {"headrace": {"parallel": 10_000}},
        "do": [{"a": {"wait": {"seconds": 1}}}],
    },
]


@pytest.mark.parametrize("task", SIDE_BY_SIDE, ids=["fork", "parallel"])
async def test_too_many_branches_at_once_do_not_begin(bench: Bench, task: Any) -> None:
    bench.limits = RunLimits(max_branches=300)
    error = await bench.error(define([{"many": task}]))
    assert "branches are to run at once, over the limit of 300 (WORKFLOW_MAX_BRANCHES)" in (
        error.detail
    )
    assert bench.steps == ["/do/0/many"]


async def test_branches_of_branches_end_at_the_limit_of_steps(bench: Bench) -> None:
    """Each loop is within its own limit; what they multiply to is not within the run's."""
    task: Any = {"set": {"x": 1}}
    for _ in range(5):
        task = {
            "for": {"in": [{}] * 6},
            "metadata": {"headrace": {"parallel": 6}},
            "do": [{"a": task}],
        }
    bench.limits = RunLimits(max_steps=200)
    error = await bench.error(define([{"many": task}]))
    assert "WORKFLOW_MAX_STEPS" in error.detail
    assert len(bench.steps) <= 201


_junk: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", ".", "${ . }", "a ${ . } b", "${", [], {}, [[]], {"x": {}},
     [{}], [{"a": {}}], [{"a": {"set": {"x": 1}}}], {"do": []}, "exit", "$x", {"seconds": "1"}]
)  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each container of a document with each of its keys."""
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


@settings(max_examples=25, deadline=None)
@given(task_lists, st.data())
def test_whatever_is_put_into_a_definition_it_is_read_or_refused_with_a_place(
    checker: Checker, tasks: Any, data: st.DataObject
) -> None:
    whole = document(copy.deepcopy(tasks), use={"errors": {}, "retries": {}, "timeouts": {}})
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(_places(whole)))
        if isinstance(container, dict) and data.draw(st.booleans()):
            container[data.draw(st.sampled_from([*STEP_TYPES, "then", "catch", "x", "with"]))] = (
                data.draw(_junk)
            )
        else:
            container[key] = data.draw(_junk)
    try:
        parse(msgspec.json.encode(whole), "made.json", checker)
    except DefinitionError as error:
        refused = [error, *error.others]
        assert all(fault.line == 1 and fault.column for fault in refused)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    with Checker() as checker:
        yield checker

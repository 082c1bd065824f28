"""The data flow of tasks (DSL, "Data Flow") and the order that `then` gives them ("Task Flow")."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from headrace.workflows.limits import RunLimits
from tests.unit.workflows.harness import RUN_ID, START, Bench, define


def put(**data: Any) -> dict[str, Any]:
    return {"set": data}


async def test_each_task_s_output_is_the_next_one_s_input(bench: Bench) -> None:
    workflow = define([{"a": put(x="${ .n + 1 }")}, {"b": put(y="${ .x * 2 }")}])
    assert await bench.output(workflow, {"n": 1}) == {"y": 4}
    assert bench.steps == ["/do/0/a", "/do/1/b"]


async def test_data_passes_through_all_transformations_in_order(bench: Bench) -> None:
    step = {
        "if": '.raw == "in"',
        "input": {"from": "{filtered: .raw, task: $task.input.raw}"},
        "set": {"made": "${ .filtered + $input.task }", "before": "${ $task.output }"},
        "output": {"as": "{kept: .made, was: $task.output.made, given: $input.filtered}"},
        "export": {"as": "{seen: ., out: $output, before: $context}"},
    }
    workflow = define(
        [{"step": step}],
        input={"from": "{raw: .outer}"},
        output={"as": {"output": "${ . }", "context": "${ $context }"}},
    )
    kept = {"kept": "inin", "was": "inin", "given": "in"}
    assert await bench.output(workflow, {"outer": "in"}) == {
        "output": kept,
        # The context is at first the workflow's transformed input.
        "context": {"seen": kept, "out": kept, "before": {"raw": "in"}},
    }


async def test_a_transformation_may_be_a_mapping(bench: Bench) -> None:
    workflow = define(
        [
            {
                "a": put(x=1)
                | {"input": {"from": {"n": "${ .m }"}}, "output": {"as": {"m": "${ .x }"}}}
            }
        ]
    )
    assert await bench.output(workflow, {"m": 5}) == {"m": 1}


async def test_data_of_any_kind_may_flow(bench: Bench) -> None:
    workflow = define([{"a": {"set": "${ .n }"}}, {"b": {"set": "${ [., null, true, 1.5] }"}}])
    assert await bench.output(workflow, {"n": "x"}) == ["x", None, True, 1.5]


@pytest.mark.parametrize("condition", [".no", ".nothing", "${ 1 > 2 }"])
async def test_a_skipped_task_gives_on_its_raw_input(bench: Bench, condition: str) -> None:
    skipped = put(y=1) | {
        "if": condition,
        "input": {"from": "{}"},
        "output": {"as": "{}"},
        "export": {"as": "{}"},
        "then": "end",
    }
    workflow = define([{"a": skipped}, {"b": put(got="${ . }", context="${ $context }")}])
    given = {"no": False}
    assert await bench.output(workflow, given) == {"got": given, "context": given}
    assert bench.steps == ["/do/1/b"]


@pytest.mark.parametrize("condition", [".zero", ".text", ".list", ".yes"])
async def test_all_but_false_and_null_is_true(bench: Bench, condition: str) -> None:
    workflow = define([{"a": put(ran=True) | {"if": condition}}])
    given = {"zero": 0, "text": "", "list": [], "yes": True}
    assert await bench.output(workflow, given) == {"ran": True}


async def test_then_leads_to_a_named_task(bench: Bench) -> None:
    tasks = [
        {"a": put(x='${ ["a"] }') | {"then": "c"}},
        {"b": put(x='${ .x + ["b"] }') | {"then": "end"}},
        {"c": put(x='${ .x + ["c"] }') | {"then": "b"}},
    ]
    assert await bench.output(define(tasks)) == {"x": ["a", "c", "b"]}


async def test_exit_leaves_the_list_and_end_leaves_the_workflow(bench: Bench) -> None:
    def nested(directive: str) -> Any:
        inner = [
            {"a": put(x="a") | {"if": ".x == null", "then": directive}},
            {"b": put(x="b")},
        ]
        group = {"do": inner, "output": {"as": "{group: .}"}}
        return define([{"group": group}, {"after": put(after="${ . }")}], output={"as": "{all: .}"})

    assert await bench.output(nested("exit")) == {"all": {"after": {"group": {"x": "a"}}}}
    assert await bench.output(nested("end")) == {"all": {"x": "a"}}
    assert await bench.output(nested("continue")) == {"all": {"after": {"group": {"x": "b"}}}}


async def test_exit_at_the_top_ends_the_workflow(bench: Bench) -> None:
    tasks = [{"a": put(x=1) | {"if": "true", "then": "exit"}}, {"b": put(x=2)}]
    assert await bench.output(define(tasks)) == {"x": 1}


async def test_a_loop_by_then_ends_when_its_condition_fails(bench: Bench) -> None:
    tasks = [
        {"add": put(n="${ .n + 1 }")},
        {"again": put(n="${ .n }") | {"if": ".n < 30", "then": "add"}},
    ]
    assert await bench.output(define(tasks), {"n": 0}) == {"n": 30}


async def test_a_loop_without_end_is_an_error(bench: Bench) -> None:
    workflow = define([{"a": put(x=1) | {"then": "a"}}])
    error = await bench.error(workflow)
    assert f"over the limit of {RunLimits().max_steps} (WORKFLOW_MAX_STEPS)" in error.detail
    assert not error.retryable


async def test_an_empty_list_gives_on_its_input(bench: Bench) -> None:
    assert await bench.output(define([{"group": {"do": []}}]), {"a": 1}) == {"a": 1}
    assert await bench.output(define([]), {"a": 1}) == {"a": 1}


async def test_expressions_see_the_run_and_the_task(bench: Bench) -> None:
    workflow = define(
        [
            {
                "group": {
                    "do": [{"inner": put(w="${ $workflow }", t="${ $task }", r="${ $runtime }")}]
                }
            }
        ],
        input={"from": "{a: 1}"},
    )
    seen = await bench.output(workflow, {"given": True})
    started = {
        "iso8601": "2026-01-02T03:04:05.000Z",
        "epoch": {
            "seconds": int(START.timestamp()),
            "milliseconds": int(START.timestamp()) * 1000,
        },
    }
    assert seen["w"] == {
        "id": RUN_ID,
        "definition": workflow.document,
        "input": {"given": True},
        "startedAt": started,
    }
    assert seen["t"] == {
        "name": "inner",
        "reference": "/do/0/group/do/0/inner",
        "definition": workflow.document["do"][0]["group"]["do"][0]["inner"],
        "input": {"a": 1},
        "output": None,
        "startedAt": started,
    }
    assert seen["r"]["name"] == "headrace"
    assert seen["r"]["version"]


async def test_an_error_inside_names_the_inner_task(bench: Bench) -> None:
    workflow = define([{"group": {"do": [{"a": put(x=1)}, {"b": put(x='${ error("no") }')}]}}])
    error = await bench.error(workflow)
    assert error.instance == "/do/0/group/do/1/b"
    assert error.as_dict() == {
        "type": "https://open-workflow-specification.org/spec/1.0.0/errors/expression",
        "status": 400,
        "title": "Expression failed",
        "detail": '`error("no")`: no',
        "instance": "/do/0/group/do/1/b",
    }
    assert str(error) == 'Expression failed (400) at /do/0/group/do/1/b: `error("no")`: no'


async def test_an_error_of_the_workflow_s_own_transformations_names_the_root(bench: Bench) -> None:
    error = await bench.error(define([], output={"as": "1 | keys"}))
    assert error.instance == "/"


def below(*version: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(sys.version_info >= version, reason="this Python recurses deeper")


@pytest.mark.parametrize(
    "levels",
    [
        pytest.param(980, marks=below(3, 12)),
        pytest.param(5_000, marks=below(3, 13)),
        *(12_000, 50_000),
    ],
)
async def test_data_that_is_nested_too_deeply_fails_once(bench: Bench, levels: int) -> None:
    deep: Any = "bottom"
    for _ in range(levels):
        deep = [deep]
    by_task = define([{"x": put(x="${ .deep | [.] }")}])
    by_input = define([{"x": put(x=1)}], input={"from": "{x: [.deep]}"})
    by_expression = define([{"x": put(x=f"${{ reduce range({levels}) as $i (0; [.]) | [.] }}")}])
    for workflow, instance in ((by_task, "/do/0/x"), (by_input, "/"), (by_expression, "/do/0/x")):
        error = await bench.error(workflow, {"deep": deep})
        assert error.instance == instance
        assert "too deeply" in error.detail or "recursion" in error.detail
        assert not error.retryable


async def test_the_text_of_an_error_is_bounded(bench: Bench) -> None:
    """An error quotes what it is about, which may be all of the data."""
    variables = {"long": "x" * 3_000_000}
    for expression in ("error(.long * 20)", "error({(.long): 1})", "{(.long): 1} | .[0]"):
        error = await bench.error(define([{"x": put(x=f"${{ {expression} }}")}]), variables)
        assert len(str(error)) < 1_200
        assert not error.retryable

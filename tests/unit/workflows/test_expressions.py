"""What expressions see (DSL, "Runtime Expressions"), and what they must not."""

from __future__ import annotations

import json
import os
from typing import Any

import jq  # type: ignore[import-not-found]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.workflows import DefinitionError, Runtime
from headrace.workflows.expressions import Evaluator, make_expression
from headrace.workflows.expressions.child import Limits
from headrace.workflows.expressions.simple import NeedsJq, simplify
from headrace.workflows.reading import STEP_BODY
from tests.unit.workflows.harness import START, Bench, define

_names = st.text("ab_C1", min_size=1, max_size=3).filter(lambda name: not name[0].isdigit())
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=10,
)
_spaces = st.sampled_from(["", " ", "\t\n "])
_paths = st.builds(
    lambda left, root, keys, right: (
        f"{left}{root}{''.join('.' + key for key in keys) or ''}{right}"
    ),
    _spaces,
    st.sampled_from(["", "$input", "$context"]),
    st.lists(_names, max_size=4),
    _spaces,
).map(lambda text: text if text.strip() else f"{text}.")
_literals = st.one_of(
    st.text(max_size=6).filter(lambda text: '"' not in text).map(lambda text: f'"{text}"'),
    st.integers(0, 10**15).map(str),
    st.sampled_from(
        ["true", "false", "null", "007", '"\\u0041"', '"a\\(1)"', "..", ".a..b", "$__loc__"]
    ),
)


_operators = st.sampled_from(
    ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "//", "|"]
)
_words = st.sampled_from(["length", "not", "add", "tostring", "empty", "keys"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, _operators, inner).map(" ".join),
        st.tuples(inner, _words).map(" | ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"({text}).a"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(_names, inner).map(lambda it: f'{{{it[0]}: {it[1]}, a, "c": ({it[1]})}}'),
        st.tuples(inner, inner).map(lambda pair: f"if {pair[0]} then {pair[1]} end"),
        st.tuples(inner, inner, inner).map(lambda it: f"if {it[0]} then {it[1]} else {it[2]} end"),
        inner.map(lambda text: f'"<\\({text})\\n>"'),
        inner.map(lambda text: f"[range({text})]"),
        st.tuples(inner, inner).map(lambda it: f'{{"k\\({it[0]})": {it[1]}}}'),
    )


_expressions = st.recursive(
    st.one_of(_paths, _literals, st.text('.ab|/ "1', max_size=6)), _larger, max_leaves=6
)


@settings(max_examples=400)
@given(st.one_of(_expressions, st.text(max_size=5)), _values, _values)
@example(".and", {"and": 1}, None)
@example("$ENV", {}, None)
@example(".a", [1], None)
@example(".a", "text", None)
@example(".a.b", {"a": False}, None)
@example(".a / 3 * 0", {"a": 1}, None)
@example(".a + 1", {"a": 2**53}, None)
@example(".a - .a", {"a": 1.5}, None)
@example(".a * 3", {"a": 0.1}, None)
@example("[.a | .b, .a]", {"a": {"b": 1}}, None)
@example(".a // .b | not", {"a": None, "b": False}, None)
@example(". + . | . + . | length", "x" * 4000, None)
@example("{b: .b} + {a: [., $context]} + .", {"b": [1], "a": {}}, [2])
@example("[range(.a), 1]", {"a": 2}, None)
@example("[range(.a)] + [range(0)]", {"a": 2}, None)
@example('{"a\\(.a)": ., "a1": 2}', {"a": 1}, None)
@example('"\\(.a) is \\(if (.b) then 1 else 2 end)"', {"a": True, "b": None}, None)
def test_what_is_evaluated_without_jq_equals_jq(text: str, data: Any, bound: Any) -> None:
    simple = simplify(text)
    if simple is None:
        return  # so jq is asked
    arguments = {"input": lambda: bound, "context": lambda: [bound]}
    variables = {"input": bound, "context": [bound]}
    try:
        found = simple(data, arguments)
    except NeedsJq:
        return  # so jq is asked
    try:
        program = jq.compile(make_expression(text, STEP_BODY).program)
    except ValueError:
        return  # so the definition is refused
    expected = program.input_value({"d": data, "v": variables}).all()
    assert json.dumps([found]) == json.dumps(expected)


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        (".n + 1", {"n": 1}, 2),
        (".n * 2 - 1 == 5", {"n": 3}, True),
        ('"Hello \\(.name), \\(.n)"', {"name": "Ada", "n": 3}, "Hello Ada, 3"),
        ("[.a, .b // 1]", {"a": "x"}, ["x", 1]),
        ("{a, b: (.n / 2)}", {"a": 1, "n": 3}, {"a": 1, "b": 1.5}),
        (".items | length > 1", {"items": [1, 2]}, True),
        ('if .n >= 2 then "many" elif .n == 1 then "one" else "none" end', {"n": 1}, "one"),
        (".items | add", {"items": [1, 2]}, 3),
        (".all + [.x]", {"all": [[1], {}], "x": {"b": [2]}}, [[1], {}, {"b": [2]}]),
        (
            '. + {all: (.all + [.x]), "k\\(.x)": .x}',
            {"all": [], "x": 1},
            {"all": [1], "x": 1, "k1": 1},
        ),
        ("[range(.n)]", {"n": 3}, [0, 1, 2]),
    ],
)
def test_what_is_common_needs_no_jq(text: str, data: Any, expected: Any) -> None:
    simple = simplify(text)
    assert simple is not None
    assert simple(data, {}) == expected


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (" | ".join([". + ."] * 40), "x"),
        (" | ".join([". + ."] * 40), [1]),
        ("[range(10001)]", 1),
        (".a + 1", {"a": 2**60}),
        (".a + {}", {"a": []}),
        (".a.b", {"a": 1}),
    ],
)
def test_what_may_grow_or_fail_or_differ_is_left_to_jq(text: str, data: Any) -> None:
    simple = simplify(text)
    assert simple is not None
    with pytest.raises(NeedsJq):
        simple(data, {})


async def result(bench: Bench, expression: str, variables: Any = None) -> Any:
    workflow = define([{"step": {"set": {"x": f"${{ {expression} }}"}}}])
    return (await bench.output(workflow, variables))["x"]


@pytest.mark.parametrize("expression", ["env", "$ENV", "env | keys", '$ENV.PATH // "none"'])
async def test_the_environment_is_empty(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "x")
    assert await result(bench, expression) in ({}, [], "none")


async def test_the_evaluating_process_has_no_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "x")
    [names] = await bench.runtime.evaluator.evaluate(["env | keys"], b"null")
    assert names == ["TZ"]
    assert "SECRET_OF_THE_WORKER" in os.environ


@pytest.mark.parametrize("path", ["/etc/passwd", "./x", "~/x"])
async def test_modules_of_the_file_system_cannot_be_read(bench: Bench, path: str) -> None:
    workflow = define([{"step": {"set": {"x": f'${{ "{path}" | modulemeta }}'}}}])
    error = await bench.error(workflow)
    assert "modulemeta is not available" in error.detail


@pytest.mark.parametrize(
    "expression", ["input", "[inputs]", "input_filename", "input_line_number", "halt"]
)
async def test_there_is_no_input_but_the_data_and_no_end_but_a_result(
    bench: Bench, expression: str
) -> None:
    error = await bench.error(define([{"step": {"set": {"x": f"${{ {expression} }}"}}}]))
    assert "is not available" in error.detail


@pytest.mark.parametrize("expression", ['import "a" as a; 1', 'include "a"; 1'])
def test_a_library_is_refused_when_the_definition_is_read(expression: str) -> None:
    with pytest.raises(DefinitionError, match="unexpected i"):
        define([{"step": {"set": {"x": f"${{ {expression} }}"}}}])


@pytest.mark.parametrize(
    "expression", ["[limit(1000000000; repeat(1))] | length", '("x" * 60) | test("(x+x+)+y")']
)
async def test_an_expression_that_hits_a_limit_is_an_error_that_is_not_retried(
    expression: str,
) -> None:
    evaluator = Evaluator(Limits(cpu_seconds=0.2, memory_bytes=128 * 1024 * 1024))
    bench = Bench(Runtime(evaluator=evaluator))
    error = await bench.error(define([{"step": {"set": {"x": f"${{ {expression} }}"}}}]))
    assert error.type.endswith("/expression")
    assert not error.retryable
    await bench.runtime.close()


async def test_expressions_in_data_are_data(bench: Bench) -> None:
    text = "${ 1 + 1 }"
    workflow = define(
        [
            {"first": {"set": {"a": "${ .text }", "b": "${ [.text] | first }"}}},
            {"second": {"set": "${ . }", "output": {"as": "."}, "export": {"as": "."}}},
        ],
        output={"as": "$context"},
    )
    assert await bench.output(workflow, {"text": text}) == {"a": text, "b": text}


async def test_several_results_are_an_error_and_none_is_null(bench: Bench) -> None:
    assert await result(bench, "empty") is None
    error = await bench.error(define([{"step": {"set": {"x": "${ 1, 2 }"}}}]))
    assert "several results" in error.detail


async def test_the_error_names_the_expression_and_the_task(bench: Bench) -> None:
    workflow = define([{"step": {"set": {"a": "${ .b | length }", "x": "${ .b + {} }"}}}])
    error = await bench.error(workflow, {"b": 1})
    assert error.type == "https://open-workflow-specification.org/spec/1.0.0/errors/expression"
    assert error.status == 400
    assert error.instance == "/do/0/step"
    assert "`.b + {}`" in error.detail
    assert not error.retryable


async def test_now_is_the_run_s_own_time(bench: Bench) -> None:
    assert await result(bench, "now") == START.timestamp()
    assert await result(bench, "now | todate") == "2026-01-02T03:04:05Z"


async def test_large_integers_pass_unchanged_where_nothing_is_computed(bench: Bench) -> None:
    number = 12345678901234567890123
    assert await result(bench, ".n", {"n": number}) == number


async def test_comments_and_several_lines_are_jq_s_own(bench: Bench) -> None:
    workflow = define([{"step": {"set": {"x": "${\n .a # the first\n + 1\n}"}}}])
    assert await bench.output(workflow, {"a": 1}) == {"x": 2}

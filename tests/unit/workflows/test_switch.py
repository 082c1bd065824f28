"""`switch` (DSL reference, "Switch"): the case that is chosen, and where it leads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headrace.workflows import DefinitionError, RunCompleted
from tests.unit.workflows.harness import Bench, define

CASES = [
    {"other": {"then": "late"}},
    {"small": {"when": ".n < 10", "then": "continue"}},
    {"ten": {"when": "${ .n == 10 }", "then": "exit"}},
    {"hundred": {"when": ".n == 100", "then": "end"}},
]


def chosen(cases: Any, **common: Any) -> list[dict[str, Any]]:
    inner = [
        {"choose": {"switch": cases, **common}},
        {"next": {"set": "${ . + {next: true} }"}},
        {"late": {"set": "${ . + {late: true} }"}},
    ]
    return [{"group": {"do": inner}}, {"after": {"set": "${ . + {after: true} }"}}]


@pytest.mark.parametrize(
    ("n", "output"),
    [
        (1, {"next": True, "late": True, "after": True}),
        (10, {"after": True}),
        (100, {}),
        (50, {"late": True, "after": True}),
    ],
)
async def test_the_first_case_that_matches_says_where_to_go_on_and_else_the_default(
    bench: Bench, n: int, output: dict[str, Any]
) -> None:
    assert await bench.output(define(chosen(CASES)), {"n": n}) == {"n": n, **output}


async def test_without_a_matching_case_the_task_s_own_then_applies(bench: Bench) -> None:
    cases = [
        {"a": {"when": ".n == 1", "then": "late"}},
        {"b": {"when": ".n == 3", "then": "next"}},
    ]
    assert await bench.output(define(chosen(cases)), {"n": 2}) == {
        "n": 2, "next": True, "late": True, "after": True,
    }  # fmt: skip
    assert await bench.output(define(chosen(cases, then="end")), {"n": 2}) == {"n": 2}
    # The case's `then` comes before the task's.
    assert await bench.output(define(chosen(cases, then="end")), {"n": 1}) == {
        "n": 1, "late": True, "after": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("when", "matches"), [("null", False), ("false", False), ("0", True), ('""', True)]
)
async def test_a_condition_is_true_as_in_jq(bench: Bench, when: str, matches: bool) -> None:
    output = await bench.output(define(chosen([{"a": {"when": when, "then": "end"}}])), {})
    assert (output == {}) is matches


async def test_conditions_see_the_transformed_input_and_the_task_s_fields_apply(
    bench: Bench,
) -> None:
    workflow = define(
        chosen(
            [{"a": {"when": "$input.m == .m and .m == 1", "then": "end"}}],
            input={"from": "{m: .n}"},
            output={"as": "{out: .m}"},
            export={"as": "{exported: $output.out}"},
        ),
        output={"as": "{out: .out, context: $context}"},
    )
    assert await bench.output(workflow, {"n": 1}) == {"out": 1, "context": {"exported": 1}}


async def test_a_loop_made_of_a_switch_and_a_wait_ends_after_parks(bench: Bench) -> None:
    bench.can_park = True
    workflow = define(
        [
            {"check": {"switch": [{"done": {"when": ".n >= 3", "then": "end"}}]}},
            {"pause": {"wait": {"minutes": 1}}},
            {"count": {"set": {"n": "${ .n + 1 }"}, "then": "check"}},
        ]
    )
    outcome = await bench.execute(workflow, {"n": 0})
    parks = 0
    while not isinstance(outcome, RunCompleted):
        parks += 1
        bench.clock += timedelta(minutes=1)
        outcome = await bench.execute(workflow, {"n": 0}, bench.saved)
    assert (outcome.output, parks) == ({"n": 3}, 3)


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ([], "`switch` has no case"),
        ({"a": {"then": "end"}}, "`switch` must be a list"),
        ([{"a": {"then": "end"}, "b": {"then": "end"}}], "must hold one case"),
        ([{"a": {"when": ".x"}}], "`then` is missing in `a`"),
        ([{"a": {"when": True, "then": "end"}}], "`when` must be a text"),
        ([{"a": {"when": ".x", "then": "nowhere"}}], "`then` names 'nowhere'"),
        ([{"a": {"when": ".x", "then": "after"}}], "`then` names 'after'"),
        ([{"a": {"when": "$item", "then": "end"}}], "$item is not defined"),
        ([{"a": {"if": ".x", "then": "end"}}], "unknown key 'if' in `a`"),
        ([{"a": {"then": "end"}}, {"b": {"then": "end"}}], "only one is the default"),
        ([{"a": {"when": "1", "then": "end"}}, {"a": {"then": "end"}}], "are named 'a'"),
    ],
)
def test_a_wrong_switch_is_refused(cases: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define(chosen(cases))
    assert reason in caught.value.reason
    assert caught.value.task == "choose"

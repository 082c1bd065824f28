"""`for` (DSL reference, "For"): rounds, their variables and data, and how a loop ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headrace.workflows import DefinitionError, RunCompleted
from headrace.workflows.limits import RunLimits
from tests.unit.workflows.harness import Bench, define
from tests.unit.workflows.web import Web, json

ADD = {"add": {"set": {"seen": "${ .seen + [$item] }", "n": "${ .n }"}}}


def loop(*steps: Any, of: Any = "[3, 4, 5]", **more: Any) -> dict[str, Any]:
    return {"loop": {"for": {"in": of}, "do": list(steps or [ADD]), **more}}


async def test_each_round_works_on_the_output_of_the_one_before(bench: Bench) -> None:
    workflow = define([loop(), {"after": {"set": "${ .seen }"}}])
    assert await bench.output(workflow, {"seen": [0]}) == [0, 3, 4, 5]
    assert bench.steps == ["/do/0/loop", *["/do/0/loop/do/0/add"] * 3, "/do/1/after"]


async def test_without_a_round_the_input_passes(bench: Bench) -> None:
    assert await bench.output(define([loop(of="[]")]), {"n": 1}) == {"n": 1}
    assert await bench.output(define([loop(**{"while": "false"})]), {"n": 1}) == {"n": 1}


async def test_the_variables_may_be_named_and_are_seen_by_all_steps_inside(bench: Bench) -> None:
    step = {
        "if": "$pet.age > 1",
        "input": {"from": "{given: ., name: $pet.name}"},
        "set": {"line": "${ [$place, .name, $input.name] }"},
        "output": {"as": "{lines: ($task.input.lines + [.line]), last: $pet.name}"},
        "export": {"as": "{last: $pet.name}"},
        "timeout": {"after": '${ "PT\\($pet.age)S" }'},
    }
    workflow = define(
        [
            {
                "loop": {
                    "for": {"each": "pet", "in": ".pets", "at": "place"},
                    "do": [{"group": {"do": [{"step": step}]}}],
                }
            }
        ],
        output={"as": "{lines, last: $context.last}"},
    )
    pets = [{"name": "Ada", "age": 2}, {"name": "Bob", "age": 1}, {"name": "Cy", "age": 3}]
    assert await bench.output(workflow, {"pets": pets}) == {
        "lines": [[0, "Ada", "Ada"], [2, "Cy", "Cy"]],
        "last": "Cy",
    }


async def test_an_inner_loop_sees_the_outer_one_s_variables_and_may_hide_them(
    bench: Bench,
) -> None:
    see = {"see": {"set": {"rows": "${ .rows }", "seen": "${ .seen + [[$row, $item, $index]] }"}}}
    inner = {"inner": {"for": {"in": "$row"}, "do": [see]}}
    outer = {"outer": {"for": {"each": "row", "in": ".rows"}, "do": [inner]}}
    workflow = define([outer], output={"as": ".seen"})
    assert await bench.output(workflow, {"rows": [[1, 2], [3]]}) == [
        [[1, 2], 1, 0],
        [[1, 2], 2, 1],
        [[3], 3, 0],
    ]


async def test_the_variables_end_with_the_loop() -> None:
    with pytest.raises(DefinitionError, match=r"\$item is not defined"):
        define([loop(), {"after": {"set": {"x": "${ $item }"}}}])
    with pytest.raises(DefinitionError, match=r"\$item is not defined"):
        define([loop(output={"as": "$item"})])


async def test_while_is_asked_before_each_round_on_its_data(bench: Bench) -> None:
    workflow = define([loop(**{"while": "(.seen | length) < 2 and $item < 5 and $index < 9"})])
    assert await bench.output(workflow, {"n": 1}) == {"seen": [3, 4], "n": 1}


async def test_exit_leaves_the_loop_and_end_the_workflow(bench: Bench) -> None:
    def leave(then: str) -> Any:
        choose = {"switch": [{"enough": {"when": "$item == 4", "then": then}}]}
        return define([loop(ADD, {"choose": choose}), {"after": {"set": "${ . + {after: 1} }"}}])

    assert await bench.output(leave("exit"), {"n": 1}) == {"seen": [3, 4], "n": 1, "after": 1}
    assert await bench.output(leave("end"), {"n": 1}) == {"seen": [3, 4], "n": 1}
    assert (await bench.output(leave("continue"), {"n": 1}))["seen"] == [3, 4, 5]


async def test_exit_from_a_group_within_a_round_leaves_the_group_only(bench: Bench) -> None:
    group = {"group": {"do": [{**ADD, "add": {**ADD["add"], "then": "exit"}}]}}
    assert (await bench.output(define([loop(group)]), {}))["seen"] == [3, 4, 5]


async def test_the_list_may_stand_in_the_definition_with_expressions_in_it(bench: Bench) -> None:
    workflow = define([loop(of=[{"a": 1}, {"a": "${ .n + 1 }"}])])
    assert (await bench.output(workflow, {"n": 4}))["seen"] == [{"a": 1}, {"a": 5}]


@pytest.mark.parametrize(
    ("given", "kind"),
    [({}, "nothing"), ({"list": {"a": 1}}, "a mapping"), ({"list": 3}, "a number")],
)
async def test_what_is_no_list_is_an_error_that_names_the_expression(
    bench: Bench, given: Any, kind: str
) -> None:
    error = await bench.error(define([loop(of="${ .list }")]), given)
    assert error.detail == f"`.list` gives {kind} where `for` needs a list"
    assert error.type.endswith("/expression")
    assert error.instance == "/do/0/loop"


async def test_a_loop_over_too_many_items_fails_with_a_sentence(bench: Bench) -> None:
    error = await bench.error(define([loop({"x": {"set": {"a": 1}}}, of="[range(1000000)]")]))
    assert error.detail == (
        f"`for` has 1000000 items, over the limit of {RunLimits().max_items} "
        "(WORKFLOW_MAX_ITEMS): split the list"
    )
    assert (error.instance, error.retryable) == ("/do/0/loop", False)


async def test_calls_and_waits_in_a_loop_are_each_done_once_over_parks(
    bench: Bench, web: Web
) -> None:
    bench.can_park = True
    web.routes["/3"], web.routes["/4"], web.routes["/5"] = json("a"), json("b"), json("c")
    call = {"call": "http", "with": {"method": "get", "endpoint": f'${{ "{web.url}/\\($item)" }}'}}
    workflow = define(
        [
            loop(
                {"call": {**call, "export": {"as": "$context + {($item | tostring): .}"}}},
                {"pause": {"wait": '${ "PT\\($item)S" }'}},
            )
        ],
        output={"as": "$context"},
    )
    outcome, waits = await bench.execute(workflow), []
    while not isinstance(outcome, RunCompleted):
        assert outcome.unpark_at is not None
        waits.append(outcome.unpark_at - bench.clock)
        bench.clock = outcome.unpark_at
        outcome = await bench.execute(workflow, {}, bench.saved)
    assert outcome.output == {"3": "a", "4": "b", "5": "c"}
    assert waits == [timedelta(seconds=seconds) for seconds in (3, 4, 5)]
    assert [seen.path for seen in web.seen] == ["/3", "/4", "/5"]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"for": {"in": "."}}, "`do` is missing"),
        ({"for": {"each": "x"}, "do": [ADD]}, "`in` is missing in `for`"),
        ({"for": ".", "do": [ADD]}, "`for` must be a mapping"),
        ({"for": {"in": 5}, "do": [ADD]}, "`in` must be a text"),
        ({"for": {"in": "."}, "do": []}, "`do` holds no task"),
        ({"for": {"in": "$item"}, "do": [ADD]}, "$item is not defined"),
        ({"for": {"in": ".", "each": "$x"}, "do": [ADD]}, "`each` must be a name"),
        ({"for": {"in": ".", "each": "input"}, "do": [ADD]}, "`each` must be a name"),
        ({"for": {"in": ".", "at": "__now"}, "do": [ADD]}, "`at` must be a name"),
        ({"for": {"in": ".", "each": "index"}, "do": [ADD]}, "both named 'index'"),
        ({"for": {"in": ".", "each": "a", "at": "a"}, "do": [ADD]}, "both named 'a'"),
        ({"for": {"in": ".", "where": "a"}, "do": [ADD]}, "unknown key 'where' in `for`"),
        ({"while": ".", "do": [ADD]}, "unknown key 'while'"),
        ({"for": {"in": "."}, "do": [ADD], "set": {"x": 1}}, "a task is of one type"),
    ],
)
def test_a_wrong_loop_is_refused(task: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define([{"loop": task}])
    assert reason in caught.value.reason
    assert caught.value.task == "loop"

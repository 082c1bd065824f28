"""`try` (DSL reference, "Try" and "Catch"): which errors are caught, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.workflows import DefinitionError
from headrace.workflows.errors import ERROR_TYPE_BASE
from tests.unit.workflows.harness import Bench, define
from tests.unit.workflows.web import Web, json

TYPE = "https://example.com/errors/out-of-stock"
ERROR = {"type": TYPE, "status": 409, "title": "Out of stock", "detail": "no tea"}
FAILS = {"fails": {"raise": {"error": ERROR}}}
HANDLE = {"handle": {"set": {"caught": "${ $error }", "n": "${ .n }"}}}
CAUGHT = ERROR | {"instance": "/do/0/attempt/try/0/fails"}


def attempt(catch: Any, *steps: Any, **more: Any) -> Any:
    """A workflow of one `try`."""
    task = {"try": list(steps or [FAILS]), "catch": catch, **more}
    return define([{"attempt": task}], output={"as": "{out: ., context: $context}"})


async def out(bench: Bench, workflow: Any, variables: Any = None) -> Any:
    return (await bench.output(workflow, {"n": 1} if variables is None else variables))["out"]


async def test_without_an_error_the_output_is_that_of_the_steps(bench: Bench) -> None:
    steps = [{"a": {"set": {"n": "${ .n + 1 }"}}}, {"b": {"set": {"n": "${ .n + 1 }"}}}]
    assert await out(bench, attempt({"do": [HANDLE], "then": "end"}, *steps)) == {"n": 3}


async def test_an_error_is_handled_by_do_with_the_input_of_the_try(bench: Bench) -> None:
    steps = [{"a": {"set": {"n": 7}}}, FAILS]
    workflow = attempt({"do": [HANDLE]}, *steps, input={"from": "{n: .m}"})
    assert await out(bench, workflow, {"m": 2}) == {
        "caught": CAUGHT | {"instance": "/do/0/attempt/try/1/fails"},
        "n": 2,
    }


async def test_without_do_the_input_passes(bench: Bench) -> None:
    assert await out(bench, attempt({})) == {"n": 1}


async def test_the_error_has_the_name_that_as_gives_it_inside_the_catch_only(bench: Bench) -> None:
    inner = {"see": {"set": {"all": "${ [$problem.title, $error.title] }"}}}
    nested = {"try": [FAILS], "catch": {"as": "problem", "do": [inner]}}
    workflow = attempt({"do": [{"again": nested}]})
    assert await out(bench, workflow) == {"all": ["Out of stock", "Out of stock"]}
    with pytest.raises(DefinitionError, match=r"\$error is not defined"):
        attempt({"as": "problem", "do": [HANDLE]})
    with pytest.raises(DefinitionError, match=r"\$error is not defined"):
        attempt({}, output={"as": "$error"})


STANDARD = f"{ERROR_TYPE_BASE}communication"


@pytest.mark.parametrize(
    ("wanted", "caught"),
    [
        ({"type": TYPE}, True),
        ({"type": f"{TYPE}s"}, False),
        ({"type": "out-of-stock"}, False),
        ({"status": 409}, True),
        ({"status": 404}, False),
        ({"title": "Out of stock"}, True),
        ({"title": "out of stock"}, False),
        ({"detail": "no tea"}, True),
        ({"detail": "tea"}, False),
        ({"instance": "/do/0/attempt/try/0/fails"}, True),
        ({"instance": "/do/0/attempt"}, False),
        ({"type": TYPE, "status": 409, "detail": "no tea"}, True),
        ({"type": TYPE, "status": 409, "detail": "no milk"}, False),
        ({"type": "${ .type }", "status": "${ .status }", "title": '${ "Out of stock" }'}, True),
        ({"status": '${ "409" }'}, False),
        ({"detail": "${ .missing }"}, False),
    ],
)
async def test_errors_with_compares_each_field_that_it_has(
    bench: Bench, wanted: Any, caught: bool
) -> None:
    workflow = attempt({"errors": {"with": wanted}, "do": [{"h": {"set": {"ok": True}}}]})
    given = {"type": TYPE, "status": 409}
    if caught:
        assert await out(bench, workflow, given) == {"ok": True}
    else:
        assert (await bench.error(workflow, given)).as_dict() == CAUGHT


BASES = [
    "https://open-workflow-specification.org/spec/1.0.0/errors/",
    "https://open-workflow-specification.org/dsl/errors/types/",
    "https://serverlessworkflow.io/spec/1.0.0/errors/",
    "https://serverlessworkflow.io/dsl/errors/types/",
]


@pytest.mark.parametrize("caught", BASES)
@pytest.mark.parametrize("raised", BASES)
async def test_a_standard_type_is_the_same_in_each_form_of_its_uri(
    bench: Bench, raised: str, caught: str
) -> None:
    fails = {"fails": {"raise": {"error": {"type": f"{raised}timeout", "status": 408}}}}
    assert await out(bench, attempt({"errors": {"with": {"type": f"{caught}timeout"}}}, fails))
    other = attempt({"errors": {"with": {"type": f"{caught}runtime"}}}, fails)
    assert (await bench.error(other)).type == f"{raised}timeout"


@pytest.mark.parametrize(
    ("catch", "caught"),
    [
        ({"when": ".status == 409"}, True),
        ({"when": "${ $error.status == 409 and $input.n == 1 }"}, True),
        ({"when": ".status == 404"}, False),
        ({"exceptWhen": ".status == 409"}, False),
        ({"exceptWhen": ".status == 404"}, True),
        ({"when": ".status == 409", "exceptWhen": ".detail == null"}, True),
        ({"when": ".status == 409", "exceptWhen": '.detail == "no tea"'}, False),
        ({"when": "$e.title == .title", "as": "e"}, True),
        ({"errors": {"with": {"status": 404}}, "when": "true"}, False),
    ],
)
async def test_conditions_decide_on_the_error(bench: Bench, catch: Any, caught: bool) -> None:
    workflow = attempt(catch)
    if caught:
        assert await out(bench, workflow) == {"n": 1}
    else:
        assert (await bench.error(workflow, {"n": 1})).as_dict() == CAUGHT


async def test_then_of_the_catch_leads_on_after_an_error_only(bench: Bench) -> None:
    def leading(then: str) -> Any:
        catch = {"do": [{"h": {"set": {"seen": ["handled"]}}}], "then": then}
        steps = [{**FAILS, "fails": FAILS["fails"] | {"if": ".fail"}}]
        return define(
            [
                {"attempt": {"try": steps, "catch": catch}},
                {"next": {"set": {"seen": '${ .seen + ["next"] }'}}},
                {"last": {"set": {"seen": '${ .seen + ["last"] }'}}},
            ]
        )

    assert await bench.output(leading("last"), {"fail": True}) == {"seen": ["handled", "last"]}
    assert await bench.output(leading("end"), {"fail": True}) == {"seen": ["handled"]}
    assert await bench.output(leading("exit"), {"fail": True}) == {"seen": ["handled"]}
    assert await bench.output(leading("last"), {"seen": []}) == {"seen": ["next", "last"]}


async def test_the_task_s_own_then_applies_where_the_catch_has_none(bench: Bench) -> None:
    tasks = [
        {"attempt": {"try": [FAILS], "catch": {}, "then": "last"}},
        {"next": {"set": {"seen": "next"}}},
        {"last": {"set": {"seen": "${ .seen }"}, "then": "end"}},
        {"back": {"switch": [{"a": {"then": "next"}}]}},
    ]
    del tasks[1], tasks[2]
    assert await bench.output(define(tasks), {"seen": 0}) == {"seen": 0}


async def test_exit_leaves_the_steps_and_end_the_workflow(bench: Bench) -> None:
    def leaving(then: str) -> Any:
        steps = [{"a": {"set": {"a": 1}, "if": "true", "then": then}}, FAILS]
        return define([{"t": {"try": steps, "catch": {}}}, {"z": {"set": "${ . + {z: 1} }"}}])

    assert await bench.output(leaving("exit")) == {"a": 1, "z": 1}
    assert await bench.output(leaving("end")) == {"a": 1}


async def test_exports_before_the_error_count(bench: Bench) -> None:
    step = {"a": {"set": {"x": 1}, "export": {"as": "{kept: .x}"}}}
    workflow = attempt({"do": [{"h": {"set": {"x": "${ $context.kept }"}}}]}, step, FAILS)
    assert await bench.output(workflow, {}) == {"out": {"x": 1}, "context": {"kept": 1}}


async def test_an_error_of_the_handler_and_of_the_conditions_is_an_error_of_the_run(
    bench: Bench,
) -> None:
    worse = {"worse": {"raise": {"error": {"type": TYPE, "status": 500}}}}
    error = await bench.error(attempt({"do": [worse]}))
    assert (error.status, error.instance) == (500, "/do/0/attempt/catch/do/0/worse")
    error = await bench.error(attempt({"when": ".status.x"}))
    assert (error.type, error.instance) == (f"{ERROR_TYPE_BASE}expression", "/do/0/attempt")


async def test_the_innermost_catch_that_fits_catches(bench: Bench) -> None:
    inner = {"inner": {"try": [FAILS], "catch": {"errors": {"with": {"status": 404}}}}}
    workflow = attempt({"do": [HANDLE]}, inner)
    instance = "/do/0/attempt/try/0/inner/try/0/fails"
    assert await out(bench, workflow) == {"caught": ERROR | {"status": 409, "instance": instance},
                                          "n": 1}  # fmt: skip


async def test_a_failed_call_is_caught_with_its_status(bench: Bench, web: Web) -> None:
    web.routes["/"] = json({"reason": "gone"}, 410)
    call = {"get": {"call": "http", "with": {"method": "get", "endpoint": f"{web.url}/"}}}
    catch = {"errors": {"with": {"type": STANDARD, "status": 410}}, "do": [HANDLE]}
    caught = (await out(bench, attempt(catch, call)))["caught"]
    assert (caught["type"], caught["status"]) == (STANDARD, 410)
    assert caught["instance"] == "/do/0/attempt/try/0/get"


async def test_a_time_out_inside_is_caught_and_that_of_the_try_itself_is_not(
    bench: Bench,
) -> None:
    slow = {"slow": {"wait": {"seconds": 30}, "timeout": {"after": {"seconds": 5}}}}
    caught = (await out(bench, attempt({"do": [HANDLE]}, slow)))["caught"]
    assert (caught["status"], caught["instance"]) == (408, "/do/0/attempt/try/0/slow")
    wait = {"slow": {"wait": {"seconds": 30}}}
    own = attempt({"do": [HANDLE]}, wait, timeout={"after": {"seconds": 5}})
    error = await bench.error(own)
    assert (error.status, error.instance) == (408, "/do/0/attempt")
    around = define([{"t": {"try": [wait], "catch": {}}}], timeout={"after": {"seconds": 5}})
    assert (await bench.error(around)).instance == "/"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"try": [FAILS]}, "`catch` is missing: it says what happens when a task fails"),
        ({"try": [], "catch": {}}, "`try` holds no task"),
        ({"try": {}, "catch": {}}, "`try` must be a list, not a mapping"),
        ({"try": [FAILS], "catch": []}, "`catch` must be a mapping, not a list"),
        ({"try": [FAILS], "catch": {"do": []}}, "`do` holds no task"),
        ({"try": [FAILS], "catch": {"error": {}}},
         "unknown key 'error' in `catch`. Did you mean 'errors'?"),
        ({"try": [FAILS], "catch": {"errors": {"width": {}}}},
         "unknown key 'width' in `errors`. Did you mean 'with'?"),
        ({"try": [FAILS], "catch": {"errors": {"with": {}}}},
         "`with` is empty: leave it out to catch every error"),
        ({"try": [FAILS], "catch": {"errors": {"with": {"code": 1}}}},
         "unknown key 'code' in `with`"),
        ({"try": [FAILS], "catch": {"errors": {"with": {"status": "409"}}}},
         "`status` must be a number from 100 to 599, not '409'"),
        ({"try": [FAILS], "catch": {"errors": {"with": {"instance": "do/0/a"}}}},
         "`instance` must be a JSON pointer such as /do/0/step, not 'do/0/a'"),
        ({"try": [FAILS], "catch": {"as": "$e"}},
         "`as` must be a name of letters, digits and `_` without `$` in front, and none of ENV, "
         "authorization, context, input, output, runtime, secrets, task, workflow, not '$e'"),
        ({"try": [FAILS], "catch": {"then": "nowhere"}},
         "`then` names 'nowhere', and no task of this list has that name"),
        ({"try": [FAILS], "catch": {"when": True}},
         "`when` must be a text, not a boolean: put it in quotes"),
    ],
)  # fmt: skip
def test_a_wrong_try_is_refused(task: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define([{"attempt": task}])
    assert [caught.value.reason, *caught.value.others] == [reason]

"""`raise` (DSL reference, "Raise"): a definition's own errors, and `use.errors`."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.workflows import DefinitionError
from tests.unit.workflows.harness import Bench, define

TYPE = "https://example.com/errors/out-of-stock"


def raising(error: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"group": {"do": [{"fails": {"raise": {"error": error}, **more}}]}}]


async def test_the_run_fails_with_the_error_s_fields(bench: Bench) -> None:
    error = {
        "type": TYPE,
        "status": 409,
        "title": "Out of stock",
        "detail": '${ "only \\(.left) left of \\($input.item)" }',
    }
    raised = await bench.error(define(raising(error)), {"left": 2, "item": "tea"})
    assert raised.as_dict() == {
        "type": TYPE,
        "status": 409,
        "title": "Out of stock",
        "detail": "only 2 left of tea",
        "instance": "/do/0/group/do/0/fails",
    }
    assert str(raised) == (
        "Out of stock (409) at /do/0/group/do/0/fails: only 2 left of tea"
    )  # fmt: skip
    assert not raised.retryable


async def test_type_and_status_are_enough_and_the_instance_may_be_named(bench: Bench) -> None:
    raised = await bench.error(define(raising({"type": TYPE, "status": 400})))
    assert raised.as_dict().keys() == {"type", "status", "instance"}
    assert str(raised) == f"{TYPE} (400) at /do/0/group/do/0/fails"
    named = {
        "type": "${ .type }",
        "status": 400,
        "instance": "/do/7/elsewhere",
        "title": "${ null }",
    }
    raised = await bench.error(define(raising(named)), {"type": TYPE})
    assert raised.as_dict() == {"type": TYPE, "status": 400, "instance": "/do/7/elsewhere"}


async def test_an_error_of_use_is_raised_by_its_name(bench: Bench) -> None:
    errors = {"gone": {"type": TYPE, "status": 410, "title": "${ .item }"}}
    tasks = raising("gone", input={"from": "{item: .name}"})
    raised = await bench.error(define(tasks, use={"errors": errors}), {"name": "tea"})
    assert (raised.type, raised.status, raised.title) == (TYPE, 410, "tea")


@pytest.mark.parametrize(
    ("base", "retryable"),
    [
        ("https://serverlessworkflow.io/spec/1.0.0/errors/", True),
        ("https://open-workflow-specification.org/spec/1.0.0/errors/", True),
        ("https://open-workflow-specification.org/dsl/errors/types/", True),
        ("https://example.com/errors/", False),
    ],
)
@pytest.mark.parametrize(("name", "status"), [("timeout", 408), ("communication", 503)])
async def test_the_queue_tries_only_standard_errors_again(
    bench: Bench, base: str, retryable: bool, name: str, status: int
) -> None:
    raised = await bench.error(define(raising({"type": base + name, "status": status})))
    assert raised.retryable is retryable


@pytest.mark.parametrize("field", ["type", "title", "detail", "instance"])
async def test_a_field_that_comes_out_as_no_text_is_an_error_itself(
    bench: Bench, field: str
) -> None:
    error = {"type": TYPE, "status": 400, field: "${ [1] }"}
    raised = await bench.error(define(raising(error)))
    assert raised.detail == f"the error's `{field}` must be a text, not a list"
    assert raised.type.endswith("/expression")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("unnamed", "`use.errors` has no error named 'unnamed'"),
        (["gone"], "`error` must be a mapping"),
        ({"status": 400}, "`type` is missing in `error`"),
        ({"type": TYPE}, "`status` is missing in `error`"),
        ({"type": TYPE, "status": 99}, "a number from 100 to 599, not 99"),
        ({"type": TYPE, "status": True}, "a number from 100 to 599, not True"),
        ({"type": TYPE, "status": "${ 400 }"}, "a number from 100 to 599"),
        ({"type": "out of stock", "status": 400}, "`type` must be a URI"),
        ({"type": TYPE, "status": 400, "instance": "do/0"}, "`instance` must be a JSON pointer"),
        ({"type": TYPE, "status": 400, "title": "Hello ${ .x }"}, "mixes text and an expression"),
        ({"type": TYPE, "status": 400, "title": 1}, "`title` must be a text, not a number"),
        ({"type": TYPE, "status": 400, "detail": "${ $item }"}, "$item is not defined"),
        ({"type": TYPE, "status": 400, "code": 1}, "unknown key 'code' in `error`"),
    ],
)
def test_a_wrong_error_is_refused(error: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define(raising(error))
    assert reason in caught.value.reason
    assert caught.value.task == "fails"


def test_a_wrong_error_of_use_is_refused_whether_or_not_it_is_raised() -> None:
    with pytest.raises(DefinitionError, match="`status` is missing in `gone`"):
        define([], use={"errors": {"gone": {"type": TYPE}}})

"""All faults of a definition are found at once, each with its place, and what was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.workflows import Catalog, DefinitionError, parse
from tests.unit.workflows.harness import define

WRONG = """\
document:
  dsl: '0.8'
  namespace: test
  name: my_workflow
  version: 1.0
use:
  timeouts: { short: { after: soon } }
  errors: { gone: { type: https://a/, status: 4 } }
timeuot: 1
do:
  - first:
      sett: { x: 1 }
  - second:
      set: { x: "${ .a + }", y: "Hello ${ .b }", z: "${ $secrets.a }", w: "${ nope(1) }" }
      then: thrid
      iff: .x
  - third:
      call: http
      with:
        method: got
        endpont: https://a/
        endpoint: ftp://a/
        headers: { Host: a, X-Count: [] }
        output: text
      timeout: shrt
  - third:
      switch:
        - a: { when: ".x ==", then: firsst }
        - b: { when: ".x", them: end }
  - loop:
      for: { in: $inptu, each: input }
      do:
        - inner: { set: { a: "${ $index + $nothing }" } }
        - other: { raise: { error: gonne }, if: true }
  - last:
      emit: {}
"""

FAULTS: list[tuple[str, str | None, str]] = [
    ("2:3", None, "1.0.x are read, not 0.8"),
    ("4:3", None, "letters, digits and hyphens"),
    ("5:3", None, "put it in quotes"),
    ("7:24", None, "'soon' is not an ISO 8601 duration"),
    ("8:39", None, "a number from 100 to 599, not 4"),
    ("9:1", None, "unknown key 'timeuot' in `the workflow`. Did you mean 'timeout'?"),
    ("11:5", "first", "this is not a task: "),
    ("14:14", "second", "`x` is not a valid jq expression"),
    ("14:30", "second", "`y` mixes text and an expression"),
    ("14:50", "second", "elsewhere a secret would get into data"),
    ("14:72", "second", "nope/1 is not defined"),
    (
        "15:7",
        "second",
        "`then` names 'thrid', and no task of this list has that name. Did you mean",
    ),
    ("16:7", "second", "unknown key 'iff' in `second`. Did you mean 'if'?"),
    ("20:9", "third", "no HTTP method of those allowed"),
    ("21:9", "third", "unknown key 'endpont' in `with`"),
    ("22:9", "third", "not an absolute http or https URL"),
    ("23:20", "third", "the header 'Host' cannot be set by a workflow"),
    ("23:29", "third", "must be a text, not a list"),
    ("24:9", "third", "must be one of raw, content, response"),
    ("25:7", "third", "no time-out named 'shrt'. Did you mean 'short'?"),
    ("26:5", "third", "two tasks of this list are named 'third'"),
    ("28:16", "third", "`when` is not a valid jq expression"),
    ("28:31", "third", "`then` names 'firsst', and no task of this list has that name. Did you"),
    ("29:11", "third", "`then` is missing in `b`"),
    ("29:28", "third", "unknown key 'them' in `b`. Did you mean 'then'?"),
    ("31:14", "loop", "$inptu is not defined (known here: $context, $input, $runtime, $task, "),
    ("31:26", "loop", "`each` must be a name of letters"),
    ("33:27", "inner", "$nothing is not defined"),
    ("34:29", "other", "`use.errors` has no error named 'gonne'. Did you mean 'gone'?"),
    ("34:45", "other", "`if` must be a text, not a boolean"),
    ("36:7", "last", "`emit` tasks are not supported yet"),
]


def faults(text: str) -> list[DefinitionError]:
    with pytest.raises(DefinitionError) as caught:
        parse(text.encode(), "wrong.yaml")
    return [caught.value, *caught.value.others]


def test_every_fault_is_found_in_the_order_of_the_file() -> None:
    found = faults(WRONG)
    assert [(f"{fault.line}:{fault.column}", fault.task) for fault in found] == [
        (place, task) for place, task, _ in FAULTS
    ]
    for fault, (place, task, reason) in zip(found, FAULTS, strict=True):
        assert reason in fault.reason
        where = f"wrong.yaml:{place}" if task is None else f"wrong.yaml:{place}: task {task!r}"
        assert str(fault) == f"{where}: {fault.reason}"
    assert "Did you mean 'set'?" in found[6].reason
    assert found[25].reason.endswith("Did you mean '$input'?")


def test_a_folder_lists_every_fault_of_a_file_and_whose_it_is(tmp_path: Path) -> None:
    text = WRONG.replace("my_workflow", "mine").replace("timeuot: 1\n", "")
    (tmp_path / "wrong.yaml").write_text(text)
    errors = Catalog.load(tmp_path).errors
    assert len(errors) == len(FAULTS) - 2
    assert {error.workflow_id for error in errors} == {"mine"}


def test_a_name_that_is_given_wrongly_is_still_a_name() -> None:
    """One mistake is one fault: what refers to it is not to blame."""
    tasks = [
        {"first": {"set": {}, "then": "second"}},
        {"second": {"set": {"x": 1}, "timeout": "long", "then": "first"}},
    ]
    with pytest.raises(DefinitionError) as caught:
        define(tasks, use={"timeouts": {"long": {"after": "soon"}}})
    found = [caught.value, *caught.value.others]
    assert sorted(fault.reason.split(":")[0] for fault in found) == [
        "'soon' is not an ISO 8601 duration such as PT1M30S",
        "`set` sets nothing",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda n: {"set": {"x": f"${{ . + {n} + }}"}},
        lambda n: {"set": {"x": 1}, "then": f"stap{n}"},
        lambda n: {"sett": {"x": n}},
    ],
    ids=["expressions", "targets", "types"],
)
def test_so_many_faults_are_listed_and_no_more(wrong: Callable[[int], Any]) -> None:
    """Thousands would take minutes to look for, and nobody reads them."""
    tasks: list[Any] = [{f"step{n}": wrong(n)} for n in range(1_500)]
    with pytest.raises(DefinitionError) as caught:
        define(tasks)
    assert len(caught.value.others) == 99


def test_expressions_that_run_away_cost_one_limit_however_many_they_are() -> None:
    tasks: list[Any] = [
        {f"step{n}": {"set": {"x": f'${{ "x" * {2_000_000_000 + n} }}'}}} for n in range(5)
    ]
    with pytest.raises(DefinitionError) as caught:
        define(tasks)
    assert "memory" in caught.value.reason
    assert caught.value.others == ()

"""Each rule of reading has a wrong definition here, and the whole message that it gets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace.workflows
from headrace.workflows import DefinitionError, parse
from headrace.workflows.steps import STEP_TYPES

HEAD = "document: {dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0'}\n"
STEPS = ", ".join(f"`{keyword}`" for keyword in STEP_TYPES)
# The definition, and its faults without the file's name, by the rule that it breaks.
WRONG: dict[str, tuple[str, str]] = {
    rule: (text, message.strip().replace("{steps}", STEPS))
    for rule, text, message in re.findall(
        r"^=== (.+)\n((?:.*\n)+?)---\n((?:.+\n)+)",
        Path(__file__).with_name("wrong.txt").read_text("utf-8"),
        re.MULTILINE,
    )
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_definition_is_refused_with_its_message(rule: str) -> None:
    text, message = WRONG[rule]
    if not text.startswith("document:"):
        text = HEAD + text
    with pytest.raises(DefinitionError) as caught:
        parse(text.encode(), "a.yaml")
    faults = [caught.value, *caught.value.others]
    assert [str(fault) for fault in faults] == [f"a.yaml:{line}" for line in message.splitlines()]


REACHED = """\
do:
  - a: {set: {x: 1}, if: .a, then: exit}
  - b: {switch: [{one: {when: .a, then: d}}], then: e}
  - d: {raise: {error: {type: 'https://a.example/', status: 400}}, if: .a}
  - e: {set: {x: 1}, then: g}
  - f: {set: {x: 1}, then: end}
  - g: {switch: [{one: {when: .a, then: f}}, {other: {then: continue}}]}
  - h: {set: {x: 1}, then: continue}
"""


def test_whatever_a_run_may_reach_is_accepted() -> None:
    assert len(parse((HEAD + REACHED).encode(), "a.yaml").steps) == 7


PACKAGE = Path(headrace.workflows.__file__).parent


def _fragments() -> Iterator[tuple[str, str]]:
    """The longest fixed part of each sentence that reading says, and where it stands."""
    paths = {*PACKAGE.glob("reading/*.py"), *PACKAGE.glob("steps/**/*.py")}
    paths.remove(PACKAGE / "steps" / "http" / "policy.py")  # about a setting
    for path in sorted(paths):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in ("note", "refuse", "ValueError"):
                yield from (
                    (max(parts, key=len), f"{path.name}:{node.lineno}")
                    for argument in node.args
                    if (parts := _constants(argument))
                )


def _constants(node: ast.expr) -> list[str]:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return [
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value
    ]


def test_each_sentence_of_reading_has_a_wrong_definition() -> None:
    said = "\n".join(message for _, message in WRONG.values())
    missing = [f"{place}: {part!r}" for part, place in _fragments() if part not in said]
    assert missing == []

"""Each rule of reading has a wrong definition here, and the whole message that it gets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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

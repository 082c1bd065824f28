"""The examples in docs/workflows.md are definitions that are accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace import function
from headrace.workflows import parse

TEXT = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
HEAD = "document: {dsl: '1.0.3', namespace: docs, name: example, version: '1.0.0'}\n"


@function("vat")
def vat(net: float) -> None:
    """The function that the examples call."""


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_accepted(example: str) -> None:
    """It is a whole document, some of its fields, or tasks."""
    if example.startswith("- "):
        example = f"do:\n{example}"
    if not example.startswith("document:"):
        example = HEAD + example
    assert parse(example.encode(), "example.yaml", functions={"vat": vat}).steps

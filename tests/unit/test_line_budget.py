"""No file grows beyond what one reads in one sitting, and no function beyond one screen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES = 450
FUNCTION_LINES = 60
"""From `def` to its last line, docstring and comments counted."""

ABOVE: dict[str, str] = {}
"""File, or file and function as `file:function` → why it may be longer. Best empty."""

FOLDERS = ("headrace", "services", "controller", "benchmarks", "tools", "tests", "examples", "k8s")
SOURCES = sorted(
    path
    for folder in FOLDERS
    for ending in ("py", "lua", "sh")
    for path in (ROOT / folder).rglob(f"*.{ending}")
)


def longer(path: Path) -> Iterator[tuple[str, int]]:
    """The file, and each of its functions, if it is too long: its name and its lines."""
    name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    if (lines := len(text.splitlines())) > FILE_LINES:
        yield name, lines
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{name}:{node.name}", lines


@pytest.fixture(scope="module")
def found() -> dict[str, int]:
    assert len(SOURCES) > 400
    return {name: lines for path in SOURCES for name, lines in longer(path)}


def test_no_file_and_no_function_is_longer_than_the_budget(found: dict[str, int]) -> None:
    too_long = {name: lines for name, lines in found.items() if name not in ABOVE}
    assert too_long == {}, f"divide them: {FILE_LINES} lines a file, {FUNCTION_LINES} a function"


def test_every_exception_is_still_needed(found: dict[str, int]) -> None:
    assert ABOVE.keys() - found.keys() == set(), "within the budget by now: remove them from ABOVE"

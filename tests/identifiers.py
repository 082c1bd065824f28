"""The names that the source defines: Python's by its syntax tree, Lua's by a small lexer."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

# A comment, a string, or a name, whichever begins first. The scripts have no long brackets.
_LUA = re.compile(r"""--[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?P<name>[A-Za-z_]\w*)""")


@dataclass(frozen=True)
class Identifier:
    """A name, and where it stands."""

    name: str
    path: str
    """From the root of the checkout."""
    line: int
    is_class: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """Its words in lower case: `TaskType` and `task_type` have the same."""
        return tuple(
            word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", self.name)
        )


def tracked(*patterns: str) -> list[str]:
    """The files of this checkout that match, as git has them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


@cache
def identifiers() -> tuple[Identifier, ...]:
    """Every name that Python code defines, and every name in Lua code."""
    found: list[Identifier] = []
    for path in tracked("*.py"):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        found += [Identifier(name, path, line) for name, line in _bound(tree)]
        found += [
            Identifier(node.name, path, node.lineno, is_class=True)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        ]
    for path in tracked("*.lua"):
        text = (ROOT / path).read_text(encoding="utf-8")
        found += [Identifier(name, path, line) for name, line in lua_names(text)]
    return tuple(found)


def lua_names(text: str) -> Iterator[tuple[str, int]]:
    """The names in a Lua source, each with its line."""
    for match in _LUA.finditer(text):
        if match["name"]:
            yield match["name"], text.count("\n", 0, match.start()) + 1


def _bound(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that are bound: variables, attributes, parameters, functions, aliases."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node.lineno
            case ast.alias(asname=str(name)) | ast.MatchAs(name=str(name)):
                yield name, node.lineno
            case ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.keyword(arg=str(name)):
                yield name, node.value.lineno

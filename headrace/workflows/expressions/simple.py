"""Expressions that need no jq: they look something up, or are a constant."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from headrace.workflows.model import Arguments

_PATH = re.compile(
    r"\s*(?:\$(?P<root>[A-Za-z_][A-Za-z0-9_]*)|\.(?P<first>[A-Za-z_][A-Za-z0-9_]*)?)"
    r"(?P<rest>(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*"
)
_LITERAL = re.compile(r'\s*("[^"\\\x00-\x1f\x7f]*"|0|[1-9][0-9]{0,14}|true|false|null)\s*')


@dataclass(frozen=True, slots=True)
class Path:
    """An expression that only looks something up: `.a.b` or `$input.a.b`."""

    root: str | None
    keys: tuple[str, ...]

    def look_up(self, data: Any, arguments: Arguments) -> Any:
        """The value, as jq would find it; ValueError where jq would fail."""
        value = data if self.root is None else arguments[self.root]()
        for key in self.keys:
            if value is None:
                return None
            if not isinstance(value, dict):
                raise ValueError(f'Cannot index {_jq_kind(value)} with string ("{key}")')
            value = value.get(key)
        return value


@dataclass(frozen=True, slots=True)
class Literal:
    """An expression that is a constant."""

    value: Any

    def look_up(self, _data: Any, _arguments: Arguments) -> Any:
        """The constant."""
        return self.value


def simplify(text: str) -> Path | Literal | None:
    """How to evaluate an expression without jq, if it is that simple."""
    match = _PATH.fullmatch(text)
    if match is not None:
        keys = [match["first"]] if match["first"] else []
        rest = match["rest"].split(".")[1:]
        if rest and not keys and match["root"] is None:
            return None  # `..a` is jq's recursive descent
        if match["root"] not in ("__loc__", "ENV"):
            return Path(match["root"], (*keys, *rest))
    match = _LITERAL.fullmatch(text)
    return None if match is None else Literal(json.loads(match[1]))


def _jq_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array"

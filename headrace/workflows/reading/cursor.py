"""Reads a definition piece by piece, and refuses what is wrong with file, line and task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from headrace.workflows.errors import DefinitionError
from headrace.workflows.expressions import Check
from headrace.workflows.reading.source import Source, pointer

_KINDS: dict[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}


def kind_of(value: Any) -> str:
    """What a value is, in words for an error message."""
    return _KINDS[type(value)]


@dataclass(frozen=True, slots=True)
class Cursor:
    """One value of a definition and where it stands."""

    source: Source
    value: Any
    pointer: str = ""
    task: str | None = None
    # What the loops around it bind, and its expressions may use.
    variables: frozenset[str] = frozenset()
    # The definition's expressions as they are met, to be compiled together by a `Checker`.
    checks: list[Check] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The last part of the pointer, for messages."""
        return self.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")

    def inside(self, task: str) -> Cursor:
        """The same value, seen as part of `task`."""
        return replace(self, task=task)

    def binding(self, *variables: str) -> Cursor:
        """The same value, seen as part of a loop that binds these names."""
        return replace(self, variables=self.variables | set(variables))

    def refuse(self, reason: str) -> NoReturn:
        """Raise DefinitionError for this value."""
        line = self.source.lines.get(self.pointer)
        raise DefinitionError(self.source.file, line, self.task, reason)

    def child(self, key: str | int) -> Cursor:
        """The value below this one; it must exist."""
        return replace(self, value=self.value[key], pointer=pointer(self.pointer, key))

    def mapping(
        self,
        allowed: set[str] | frozenset[str],
        required: tuple[str, ...] = (),
        later: Mapping[str, str] | None = None,
    ) -> dict[str, Cursor]:
        """The fields of a mapping.

        Refuses unknown and missing keys, and those of `later`: keys that the language has and we do
        not support yet, each with a word for what it is.
        """
        fields = self.fields()
        for key, value in fields.items():
            if later is not None and key in later:
                value.refuse(f"{later[key]} (`{key}`) is not supported yet")
            if key not in allowed:
                value.refuse(f"unknown key {key!r} in `{self.key or 'the workflow'}`")
        for key in required:
            if key not in fields:
                self.refuse(f"`{key}` is missing in `{self.key or 'the workflow'}`")
        return fields

    def fields(self) -> dict[str, Cursor]:
        """The fields of a mapping, whatever their names."""
        if not isinstance(self.value, dict):
            self.refuse(f"`{self.key}` must be a mapping, not {kind_of(self.value)}")
        return {key: self.child(key) for key in self.value}

    def items(self) -> Iterator[Cursor]:
        """The items of a list."""
        if not isinstance(self.value, list):
            self.refuse(f"`{self.key}` must be a list, not {kind_of(self.value)}")
        return (self.child(index) for index in range(len(self.value)))

    def text(self) -> str:
        """The value as text that is not empty."""
        if not isinstance(self.value, str):
            hint = ": put it in quotes" if isinstance(self.value, int | float) else ""
            self.refuse(f"`{self.key}` must be a text, not {kind_of(self.value)}{hint}")
        if not self.value.strip():
            self.refuse(f"`{self.key}` is empty")
        return self.value

    def flag(self) -> bool:
        """The value as a boolean."""
        if not isinstance(self.value, bool):
            self.refuse(f"`{self.key}` must be true or false, not {kind_of(self.value)}")
        return self.value

    def one_of(self, *choices: str) -> str:
        """The value as one of a few words."""
        text = self.text()
        if text not in choices:
            self.refuse(f"`{self.key}` must be one of {', '.join(choices)}, not {text!r}")
        return text

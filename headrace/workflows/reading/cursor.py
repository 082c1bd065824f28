"""Reads a definition piece by piece, and notes what is wrong with file, line, column and task.

Reading goes on after a fault, so that all of a file are found at once: what cannot be read raises
`Refused`, and `attempts` goes on with the parts beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar, cast

from headrace.hints import did_you_mean
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


MAX_FAULTS = 100
"""Of one definition, that are reported."""

P = ParamSpec("P")
T = TypeVar("T")


class Refused(Exception):
    """A part of a definition cannot be read. Why is noted in its `Findings`."""


class TooManyFaults(Exception):
    """Reading ends here: to find more faults would take longer than anybody wants to read them."""


class Attempts:
    """Reads parts that stand beside each other, each even where another one is refused."""

    def __init__(self) -> None:
        self.failed = False

    def __call__(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `read` returns; if it is refused, nothing that may be looked at."""
        try:
            return read(*args, **kwargs)
        except Refused:
            self.failed = True
            return cast(T, None)

    def given(
        self,
        read: Callable[Concatenate[Cursor, P], T],
        fields: Mapping[str, Cursor],
        key: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | None:
        """What `read` returns of a field that may be missing; None if it is."""
        return self(read, fields[key], *args, **kwargs) if key in fields else None


@contextmanager
def attempts() -> Iterator[Attempts]:
    """Raises Refused at its end if a part was refused: what was made of the parts is then lost."""
    attempts = Attempts()
    yield attempts
    if attempts.failed:
        raise Refused


@dataclass(frozen=True, slots=True)
class Findings:
    """What comes up while a definition is read."""

    faults: list[DefinitionError] = field(default_factory=list)
    # The names of the secrets that the definition declares.
    secrets: set[str] = field(default_factory=set)
    # The expressions and schemas, to be compiled together by a `Checker`.
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cursor:
    """One value of a definition and where it stands."""

    source: Source
    value: Any
    pointer: str = ""
    task: str | None = None
    # What the loops around it bind, and its expressions may use.
    variables: frozenset[str] = frozenset()
    findings: Findings = field(default_factory=Findings)

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

    def note(self, reason: str) -> None:
        """Note a fault of this value, and let reading go on: TooManyFaults after so many."""
        line, column = self.source.places.get(self.pointer, (None, None))
        fault = DefinitionError(self.source.file, line, self.task, reason, column=column)
        self.findings.faults.append(fault)
        if len(self.findings.faults) >= MAX_FAULTS:
            raise TooManyFaults

    def refuse(self, reason: str) -> NoReturn:
        """Note a fault of this value, and raise Refused: it cannot be used."""
        self.note(reason)
        raise Refused

    def child(self, key: str | int) -> Cursor:
        """The value below this one; it must exist."""
        return replace(self, value=self.value[key], pointer=pointer(self.pointer, key))

    def mapping(
        self,
        allowed: set[str] | frozenset[str],
        required: tuple[str, ...] = (),
        refused: Mapping[str, str] | None = None,
    ) -> dict[str, Cursor]:
        """The fields of a mapping.

        Notes unknown keys, and those of `refused`: keys that the language has and we do not
        support, each with its sentence. Refuses a mapping without the required ones.
        """
        fields = self.fields()
        here = f"`{self.key or 'the workflow'}`"
        for key, value in fields.items():
            if refused is not None and key in refused:
                value.note(refused[key])
            elif key not in allowed:
                others = set(allowed).difference(fields)
                value.note(f"unknown key {key!r} in {here}{did_you_mean(key, others)}")
        missing = [key for key in required if key not in fields]
        for key in missing:
            self.note(f"`{key}` is missing in {here}")
        if missing:
            raise Refused
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

    def named(self, names: Collection[str], otherwise: str) -> str:
        """The value as one of these names; `otherwise` begins the sentence that it is not."""
        text = self.text()
        if text not in names:
            self.refuse(f"{otherwise} named {text!r}{did_you_mean(text, names)}")
        return text

    def one_of(self, *choices: str) -> str:
        """The value as one of a few words."""
        text = self.text()
        if text not in choices:
            self.refuse(f"`{self.key}` must be one of {', '.join(choices)}, not {text!r}")
        return text

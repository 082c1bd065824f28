"""Reads a list of steps: the fields that every step may have, in one place for all of them.

What is a step's own is read by the reader of its type; `steps/__init__.py` lists the types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from headrace.hints import did_you_mean
from headrace.workflows.model import Action, Duration, Step, Template
from headrace.workflows.reading.cursor import Cursor, attempts
from headrace.workflows.reading.durations import read_timeout
from headrace.workflows.reading.errors import read_error
from headrace.workflows.reading.expressions import (
    STEP_BEFORE,
    STEP_BODY,
    STEP_EXPORT,
    read_condition,
    read_transformation,
)

COMMON_FIELDS = frozenset({"if", "input", "output", "export", "timeout", "then", "metadata"})
# The key that tells each type of step of the language.
ALL_KEYWORDS = (
    "call", "do", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait",
)  # fmt: skip
DIRECTIVES = ("continue", "exit", "end")


@dataclass(frozen=True, slots=True)
class StepType:
    """How a type of step is read: its keys besides the common ones, and its action's reader."""

    fields: frozenset[str]
    read: Callable[[dict[str, Cursor], StepReader], Action]


@dataclass(frozen=True, slots=True)
class StepReader:
    """Reads steps.

    `types` are those supported, by keyword; `timeouts` and `errors` are those that the workflow's
    `use` names.
    """

    types: Mapping[str, StepType]
    timeouts: dict[str, Duration] = field(default_factory=dict)
    errors: dict[str, Template] = field(default_factory=dict)
    # Where the steps of the list that is being read lead to, as far as these are steps.
    _targets: list[Cursor] = field(default_factory=list)

    def steps(self, cursor: Cursor) -> tuple[Step, ...]:
        """A list of named steps."""
        reader = replace(self, _targets=[])
        named: set[str] = set()
        with attempts() as part:
            steps = [part(reader._item, item, named, cursor.key) for item in cursor.items()]
            for target in reader._targets:
                if target.value not in named:
                    target.note(
                        f"`then` names {target.value!r}, and no task of this list has that name"
                        f"{did_you_mean(target.value, (*named, *DIRECTIVES))}"
                    )
        return tuple(steps)

    def then(self, cursor: Cursor) -> str:
        """Where to go on: a directive, or a step of the list that is being read."""
        text = cursor.text()
        if text not in DIRECTIVES:
            self._targets.append(cursor)
        return text

    def timeout(self, cursor: Cursor, allowed: frozenset[str] = STEP_BODY) -> Duration:
        """A time-out: a duration, or the name of one of `use.timeouts`."""
        if isinstance(cursor.value, str):
            return self.timeouts[cursor.named(self.timeouts, "`use.timeouts` has no time-out")]
        return read_timeout(cursor, allowed)

    def error(self, cursor: Cursor) -> Template:
        """The error that a step raises: described here, or the name of one of `use.errors`."""
        if isinstance(cursor.value, str):
            return self.errors[cursor.named(self.errors, "`use.errors` has no error")]
        return read_error(cursor)

    def _item(self, item: Cursor, named: set[str], key: str) -> Step:
        """One item of the list under `key`. Its name counts even if the step is wrong."""
        fields = item.fields()
        if len(fields) != 1:
            named.update(fields)
            item.refuse(f"an item of `{key}` must hold one task under its name")
        ((name, cursor),) = fields.items()
        cursor = cursor.inside(name)
        if name in named:
            cursor.note(f"two tasks of this list are named {name!r}: rename one")
        if name in DIRECTIVES:
            cursor.note(f"a task cannot be named {name!r}: `then` gives it a meaning")
        named.add(name)
        return self._step(name, cursor)

    def _step(self, name: str, cursor: Cursor) -> Step:
        step_type = self._type(cursor)
        fields = cursor.mapping(COMMON_FIELDS | step_type.fields)
        with attempts() as part:
            if "metadata" in fields:
                part(fields["metadata"].fields)
            condition, timeout, then = None, None, "continue"
            if "if" in fields:
                condition = part(read_condition, fields["if"], STEP_BEFORE)
            if "timeout" in fields:
                timeout = part(self.timeout, fields["timeout"])
            if "then" in fields:
                then = part(self.then, fields["then"])
            return Step(
                name=name,
                reference=cursor.pointer,
                document=cursor.value,
                action=part(step_type.read, fields, self),
                condition=condition,
                input_from=part(read_data_field, fields, "input", "from", STEP_BEFORE),
                output_as=part(read_data_field, fields, "output", "as", STEP_BODY),
                export_as=part(read_data_field, fields, "export", "as", STEP_EXPORT),
                timeout=timeout,
                then=then,
            )

    def _type(self, cursor: Cursor) -> StepType:
        fields = cursor.fields()
        present = [key for key in ALL_KEYWORDS if key in fields]
        for keyword in present:
            if keyword not in self.types:
                cursor.child(keyword).refuse(
                    f"`{keyword}` tasks are not supported yet (supported: "
                    f"{', '.join(f'`{key}`' for key in self.types)})"
                )
        if not present:
            meant = next(filter(None, (did_you_mean(key, self.types) for key in fields)), "")
            cursor.refuse(
                f"this is not a task: it has none of {', '.join(f'`{key}`' for key in self.types)}"
                f"{meant}"
            )
        # `do` is a type of step, and a field of `for`.
        types = [key for key in present if not self._is_field(key, present)]
        if len(types) > 1:
            cursor.refuse(f"a task is of one type, this has {' and '.join(map(repr, types))}")
        return self.types[types[0]]

    def _is_field(self, keyword: str, present: list[str]) -> bool:
        return any(keyword in self.types[other].fields for other in present if other != keyword)


def read_data_field(
    fields: Mapping[str, Cursor], field: str, key: str, allowed: frozenset[str]
) -> Template | None:
    """The transformation under `key` of `input`, `output` or `export`, if there is one."""
    if field not in fields:
        return None
    inner = fields[field].mapping({key}, later={"schema": "checking data against a schema"})
    return read_transformation(inner[key], allowed) if key in inner else None

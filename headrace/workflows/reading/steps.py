"""Reads a list of steps: the fields that every step may have, in one place for all of them.

What is a step's own is read by the reader of its type; `steps/__init__.py` lists the types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from headrace.hints import did_you_mean
from headrace.workflows.model import (
    Action,
    Authentication,
    CalledFunction,
    Duration,
    RetryPolicy,
    Schema,
    Step,
    Template,
)
from headrace.workflows.reading import refused
from headrace.workflows.reading.authentications import read_authentication
from headrace.workflows.reading.cursor import Cursor, attempts
from headrace.workflows.reading.durations import read_timeout
from headrace.workflows.reading.errors import read_error
from headrace.workflows.reading.expressions import (
    STEP_BEFORE,
    STEP_BODY,
    STEP_EXPORT,
    STEP_IF,
    read_condition,
    read_transformation,
)
from headrace.workflows.reading.order import DIRECTIVES, Place, check_reached, check_targets
from headrace.workflows.reading.retries import read_retry
from headrace.workflows.reading.schemas import read_schema

COMMON_FIELDS = frozenset({"if", "input", "output", "export", "timeout", "then", "metadata"})
# The key that tells each type of step of the language.
ALL_KEYWORDS = (
    "call", "do", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepType:
    """How a type of step is read: its keys besides the common ones, and its action's reader."""

    fields: frozenset[str]
    read: Callable[[dict[str, Cursor], StepReader], Action]


@dataclass(frozen=True, slots=True)
class StepReader:
    """Reads steps.

    `types` are those supported, by keyword, and `functions` those of installed packages, by name;
    `timeouts`, `errors`, `retries`, `authentications` and `named_functions` are
    those that the workflow's `use` names. `function_names` are those of all its functions, the
    ones that are not read yet, too.
    `place` is that of the step which is being read.
    """

    types: Mapping[str, StepType]
    functions: Mapping[str, CalledFunction] = field(default_factory=dict)
    timeouts: dict[str, Duration] = field(default_factory=dict)
    errors: dict[str, Template] = field(default_factory=dict)
    retries: dict[str, RetryPolicy] = field(default_factory=dict)
    authentications: dict[str, Authentication] = field(default_factory=dict)
    named_functions: dict[str, Step] = field(default_factory=dict)
    function_names: set[str] = field(default_factory=set)
    place: Place | None = None

    def steps(self, cursor: Cursor) -> tuple[Step, ...]:
        """A list of named steps."""
        with attempts() as part:
            places = [Place(item) for item in cursor.items()]
            names: set[str] = set()
            steps = [part(self._item, place, names, cursor.key) for place in places]
            # What is wrong otherwise may be why a step seems to be out of reach.
            if check_targets(places) and not part.failed:
                check_reached(places)
        return tuple(steps)

    def branches(self, cursor: Cursor) -> tuple[Step, ...]:
        """A list of named steps, each of which is a branch: no `then` leads to another one."""
        with attempts() as part:
            places = [Place(item) for item in cursor.items()]
            names: set[str] = set()
            steps = [part(self._item, place, names, cursor.key) for place in places]
            for place in places:
                check_targets([place])
        return tuple(steps)

    def steers(self) -> None:
        """The step that is being read never goes on as its own `then` says."""
        assert self.place is not None
        self.place.passes = False

    def then(self, cursor: Cursor) -> str:
        """Where to go on: a directive, or a step of the list that is being read."""
        text = cursor.text()
        assert self.place is not None
        self.place.thens.append(cursor)
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

    def retry(self, cursor: Cursor) -> RetryPolicy:
        """A retry policy: described here, or the name of one of `use.retries`."""
        if isinstance(cursor.value, str):
            return self.retries[cursor.named(self.retries, "`use.retries` has no retry policy")]
        return read_retry(cursor)

    def authentication(self, cursor: Cursor) -> Authentication:
        """An authentication: described here, or `use` with a name of `use.authentications`."""
        if "use" in cursor.fields():
            name = cursor.mapping({"use"})["use"].named(
                self.authentications, "`use.authentications` has no authentication"
            )
            return self.authentications[name]
        return read_authentication(cursor)

    def function(self, name: str, cursor: Cursor) -> Step:
        """A task that `use.functions` names, in no list. It may call those that stand before it."""
        place = Place(cursor)
        with attempts() as part:
            step = part(replace(self, place=place)._step, name, cursor.inside(name), place)
            check_targets([place])
        return step

    def _item(self, place: Place, names: set[str], key: str) -> Step:
        """One item of the list under `key`. Its name counts even if the step is wrong."""
        fields = place.item.fields()
        place.names = tuple(fields)
        if len(fields) != 1:
            place.item.refuse(f"an item of `{key}` must hold one task under its name")
        ((name, cursor),) = fields.items()
        cursor = cursor.inside(name)
        if name in names:
            cursor.note(f"two tasks of this list are named {name!r}: rename one")
        if name in DIRECTIVES:
            cursor.note(f"a task cannot be named {name!r}: `then` gives it a meaning")
        names.add(name)
        return replace(self, place=place)._step(name, cursor, place)

    def _step(self, name: str, cursor: Cursor, place: Place) -> Step:
        step_type = self._type(cursor)
        fields = cursor.mapping(COMMON_FIELDS | step_type.fields)
        with attempts() as part:
            if "metadata" in fields:
                part(fields["metadata"].fields)
            condition, timeout, then = None, None, "continue"
            if "if" in fields:
                condition = part(read_condition, fields["if"], STEP_IF)
            if "timeout" in fields:
                timeout = part(self.timeout, fields["timeout"])
            if "then" in fields:
                then = part(self.then, fields["then"])
                self.steers()
            action = part(step_type.read, fields, self)
            # One that is skipped goes on to the next.
            place.passes = place.passes or condition is not None
            schemas = {
                f"{field}_schema": part(read_data_schema, fields, field)
                for field in ("input", "output", "export")
            }
            return Step(
                name=name,
                reference=cursor.pointer,
                document=cursor.value,
                action=action,
                condition=condition,
                input_from=part(read_data_field, fields, "input", "from", STEP_BEFORE),
                output_as=part(read_data_field, fields, "output", "as", STEP_BODY),
                export_as=part(read_data_field, fields, "export", "as", STEP_EXPORT),
                timeout=timeout,
                then=then,
                **schemas,
            )

    def _type(self, cursor: Cursor) -> StepType:
        fields = cursor.fields()
        present = [key for key in ALL_KEYWORDS if key in fields]
        for keyword in present:
            if keyword not in self.types:
                supported = ", ".join(f"`{key}`" for key in self.types)
                cursor.child(keyword).refuse(f"{refused.STEPS[keyword]} (supported: {supported})")
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
    inner = fields[field].mapping({key, "schema"})
    return read_transformation(inner[key], allowed) if key in inner else None


def read_data_schema(fields: Mapping[str, Cursor], field: str) -> Schema | None:
    """The schema of `input`, `output` or `export`, if there is one."""
    if field not in fields or not isinstance(fields[field].value, dict):
        return None
    inner = fields[field].fields()
    if field == "export" and "as" not in inner:
        fields[field].note("`as` is missing in `export`: without it nothing is exported")
    return read_schema(inner["schema"], field) if "schema" in inner else None

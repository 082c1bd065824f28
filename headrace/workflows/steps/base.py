"""What all tasks have in common, and how a list of them is read from a definition.

A task type is an action (what the task itself does) and a reader for it; `tasks/__init__.py` lists
them. The fields that every task may have are read and obeyed in one place for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headrace.workflows.expressions.templates import (
    TASK_BEFORE,
    TASK_BODY,
    TASK_EXPORT,
    Template,
    read_expression,
    read_transformation,
)
from headrace.workflows.reading.durations import Duration, read_duration
from headrace.workflows.reading.reader import Cursor

if TYPE_CHECKING:
    from headrace.workflows.running.interpreter import Run, TaskScope

COMMON_FIELDS = frozenset({"if", "input", "output", "export", "timeout", "then", "metadata"})
# The key that tells each type of task of the language.
ALL_KEYWORDS = (
    "call", "do", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait",
)  # fmt: skip
DIRECTIVES = ("continue", "exit", "end")


class Action(Protocol):
    """What a task does between the transformations of its input and its output."""

    async def perform(self, run: Run, scope: TaskScope) -> Any:
        """Do it with `scope.input` and return the raw output. Raises WorkflowError."""


@dataclass(frozen=True, slots=True)
class TaskType:
    """How a task type is read: its keys besides the common ones, and the reader of its action."""

    fields: frozenset[str]
    read: Callable[[dict[str, Cursor], Reading], Action]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of a definition, checked. `reference` is its JSON pointer in the document."""

    name: str
    reference: str
    definition: Any
    action: Action
    condition: Template | None
    input_from: Template | None
    output_as: Template | None
    export_as: Template | None
    timeout: Duration | None
    then: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known while a definition's tasks are read."""

    types: Mapping[str, TaskType]
    timeouts: Mapping[str, Duration]

    def tasks(self, cursor: Cursor) -> tuple[Task, ...]:
        """A list of named tasks."""
        tasks: list[Task] = []
        named: dict[str, Cursor] = {}
        for item in cursor.items():
            fields = item.fields()
            if len(fields) != 1:
                item.refuse(f"an item of `{cursor.key}` must hold one task under its name")
            ((name, task_cursor),) = fields.items()
            task_cursor = task_cursor.inside(name)
            if name in named:
                task_cursor.refuse(f"two tasks of this list are named {name!r}: rename one")
            if name in DIRECTIVES:
                task_cursor.refuse(f"a task cannot be named {name!r}: `then` gives it a meaning")
            named[name] = task_cursor
            tasks.append(self._task(name, task_cursor))
        for task in tasks:
            if task.then not in DIRECTIVES and task.then not in named:
                named[task.name].child("then").refuse(
                    f"`then` names {task.then!r}, and no task of this list has that name"
                )
        return tuple(tasks)

    def timeout(self, cursor: Cursor, allowed: frozenset[str] = TASK_BODY) -> Duration:
        """A time-out: a duration, or the name of one of `use.timeouts`."""
        if isinstance(cursor.value, str):
            if cursor.value not in self.timeouts:
                cursor.refuse(f"`use.timeouts` has no time-out named {cursor.value!r}")
            return self.timeouts[cursor.value]
        return read_duration(cursor.mapping({"after"}, ("after",))["after"], allowed)

    def _task(self, name: str, cursor: Cursor) -> Task:
        task_type = self._type(cursor)
        fields = cursor.mapping(COMMON_FIELDS | task_type.fields)
        if "metadata" in fields:
            fields["metadata"].fields()
        condition = None
        if "if" in fields:
            expression = read_expression(fields["if"], TASK_BEFORE)
            condition = Template(expression, (expression,))
        return Task(
            name=name,
            reference=cursor.pointer,
            definition=cursor.value,
            action=task_type.read(fields, self),
            condition=condition,
            input_from=_transformation(fields, "input", "from", TASK_BEFORE),
            output_as=_transformation(fields, "output", "as", TASK_BODY),
            export_as=_transformation(fields, "export", "as", TASK_EXPORT),
            timeout=self.timeout(fields["timeout"]) if "timeout" in fields else None,
            then=fields["then"].text() if "then" in fields else "continue",
        )

    def _type(self, cursor: Cursor) -> TaskType:
        present = [key for key in ALL_KEYWORDS if key in cursor.fields()]
        for keyword in present:
            if keyword not in self.types:
                cursor.child(keyword).refuse(
                    f"`{keyword}` tasks are not supported yet (supported: "
                    f"{', '.join(f'`{supported}`' for supported in self.types)})"
                )
        if not present:
            cursor.refuse(
                f"this is no task: it has none of {', '.join(f'`{key}`' for key in self.types)}"
            )
        if len(present) > 1:
            cursor.refuse(f"a task is of one type, this has {' and '.join(map(repr, present))}")
        return self.types[present[0]]


def _transformation(
    fields: dict[str, Cursor], field: str, key: str, allowed: frozenset[str]
) -> Template | None:
    return read_data_field(fields[field], key, allowed) if field in fields else None


def read_data_field(cursor: Cursor, key: str, allowed: frozenset[str]) -> Template | None:
    """`input`, `output` or `export`: the transformation under `key`, if there is one."""
    fields = cursor.mapping({key}, later={"schema": "checking data against a schema"})
    return read_transformation(fields[key], allowed) if key in fields else None

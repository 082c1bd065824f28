"""`set`: the step's output is the data that it holds, its expressions evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.workflows.model import Done, Flow, Scope, Template
from headrace.workflows.reading import STEP_BODY, Cursor, StepReader, read_template


@dataclass(frozen=True, slots=True)
class SetAction:
    """The data to set."""

    data: Template

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The data on the step's input."""
        return Done(await flow.evaluate(self.data, scope.input, scope))


def read_set(fields: dict[str, Cursor], _reader: StepReader) -> SetAction:
    """A mapping, or one expression."""
    cursor = fields["set"]
    if isinstance(cursor.value, str):
        if "${" not in cursor.text():
            cursor.refuse("`set` must be a mapping, or an expression such as ${ .order }")
    elif not cursor.fields():
        cursor.note("`set` sets nothing")
    return SetAction(read_template(cursor, STEP_BODY))

"""`raise`: fails the run with an error that the definition describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from headrace.workflows.errors import WorkflowError, fail
from headrace.workflows.model import Flow, Scope, Template
from headrace.workflows.reading import Cursor, StepReader, kind_of


@dataclass(frozen=True, slots=True)
class RaiseAction:
    """The error's fields."""

    error: Template

    async def perform(self, flow: Flow, scope: Scope) -> NoReturn:
        """Raise the error, its expressions evaluated on the step's input."""
        fields = await flow.evaluate(self.error, scope.input, scope)
        texts: dict[str, str] = {}
        for name in ("type", "title", "detail", "instance"):
            value = fields.get(name)
            if value is None and name != "type":
                continue
            if not isinstance(value, str):
                fail("expression", f"the error's `{name}` must be a text, not {kind_of(value)}")
            texts[name] = value
        raise WorkflowError(status=fields["status"], **texts)


def read_raise(fields: dict[str, Cursor], reader: StepReader) -> RaiseAction:
    """The error under `raise.error`."""
    reader.steers()
    return RaiseAction(reader.error(fields["raise"].mapping({"error"}, ("error",))["error"]))

"""`do`: a list of steps, one after the other, as one step."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.workflows.model import Done, Flow, Scope, Step
from headrace.workflows.reading import Cursor, StepReader


@dataclass(frozen=True, slots=True)
class DoAction:
    """The steps to perform."""

    steps: tuple[Step, ...]

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The last step's output."""
        done = await flow.sequence(self.steps, scope.input, scope.under("do"))
        return Done(done.output)


def read_do(fields: dict[str, Cursor], reader: StepReader) -> DoAction:
    """The list under `do`."""
    return DoAction(reader.steps(fields["do"]))

"""`fork`: performs steps side by side, and goes on when all have ended, or the first."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.workflows.model import Done, Flow, Scope, Step
from headrace.workflows.reading import Cursor, StepReader, attempts


@dataclass(frozen=True, slots=True)
class ForkAction:
    """A step for each branch. `compete`: the first to complete is the only one that counts."""

    branches: tuple[Step, ...]
    compete: bool

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The branches' outputs as a list in their order, or the winner's output."""
        inside = scope.under("fork")

        async def branch(flow: Flow, number: int) -> Done:
            steps = (self.branches[number],)
            return await flow.sequence(steps, scope.input, inside.under(number))

        outputs = await flow.branches(len(self.branches), branch, inside, compete=self.compete)
        return Done(outputs[0] if self.compete else outputs)


def read_fork(fields: dict[str, Cursor], reader: StepReader) -> ForkAction:
    """The list under `fork.branches`, and whether they `compete`."""
    given = fields["fork"].mapping({"branches", "compete"}, ("branches",))
    if given["branches"].value == []:
        given["branches"].note("`branches` holds no task")
    with attempts() as part:
        compete = part(given["compete"].flag) if "compete" in given else False
        return ForkAction(part(reader.branches, given["branches"]), compete)

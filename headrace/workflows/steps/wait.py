"""`wait`: lets time pass; its output is its input."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace.workflows.model import Done, Duration, Flow, Scope
from headrace.workflows.reading import Cursor, StepReader, read_duration


@dataclass(frozen=True, slots=True)
class WaitAction:
    """How long to wait."""

    duration: Duration

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The step's input, later."""

        async def until() -> datetime:
            after = await flow.duration(self.duration, scope)
            return flow.now() + after

        await flow.park(until, scope)
        return Done(scope.input)


def read_wait(fields: dict[str, Cursor], _reader: StepReader) -> WaitAction:
    """The duration under `wait`."""
    return WaitAction(read_duration(fields["wait"]))

"""Short ways to define and run workflows in tests, on a clock that only moves when told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from headrace.workflows import (
    Environment,
    RunCompleted,
    RunParked,
    Runtime,
    Workflow,
    WorkflowError,
    execute,
    parse,
)

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def document(tasks: Any, **more: Any) -> dict[str, Any]:
    """A workflow's document with these tasks."""
    names = {"dsl": "1.0.3", "namespace": "test", "name": "sample", "version": "1.0.0"}
    return {"document": names, "do": tasks, **more}


def define(tasks: Any, **more: Any) -> Workflow:
    """A workflow with these tasks, by way of its text."""
    return parse(msgspec.json.encode(document(tasks, **more)), "sample.json")


def calling(endpoint: Any, method: str = "get", **arguments: Any) -> Workflow:
    """A workflow of one `call: http`."""
    call = {"call": "http", "with": {"method": method, "endpoint": endpoint, **arguments}}
    return define([{"call": call}])


@dataclass
class Bench:
    """Runs workflows and keeps what they report."""

    runtime: Runtime
    can_park: bool = False
    clock: datetime = START
    checkpoints: list[bytes] = field(default_factory=list)
    progress: list[tuple[int, str]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    random: float = 0.5
    on_checkpoint: Callable[[bytes], Awaitable[None]] | None = None

    @property
    def environment(self) -> Environment:
        return Environment(
            runtime=self.runtime,
            run_id="run-1",
            now=lambda: self.clock,
            sleep=self._sleep,
            checkpoint=self._checkpoint,
            random=lambda: self.random,
            can_park=self.can_park,
            progress=lambda percent, message: self.progress.append((percent, message)),
            on_step=self.steps.append,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock += timedelta(seconds=seconds)

    async def _checkpoint(self, state: bytes) -> None:
        self.checkpoints.append(state)
        if self.on_checkpoint is not None:
            await self.on_checkpoint(state)

    async def execute(
        self, workflow: Workflow, variables: Any = None, state: bytes | None = None
    ) -> RunCompleted | RunParked:
        given = {} if variables is None else variables
        return await execute(workflow, given, environment=self.environment, state=state)

    async def output(self, workflow: Workflow, variables: Any = None) -> Any:
        """The output of a run that completes in one go."""
        outcome = await self.execute(workflow, variables)
        assert isinstance(outcome, RunCompleted)
        return outcome.output

    async def parked(
        self, workflow: Workflow, variables: Any = None, state: bytes | None = None
    ) -> RunParked:
        """The outcome of a run that parks."""
        outcome = await self.execute(workflow, variables, state)
        assert isinstance(outcome, RunParked)
        return outcome

    async def error(self, workflow: Workflow, variables: Any = None) -> WorkflowError:
        """The error of a run that fails."""
        try:
            outcome = await self.execute(workflow, variables)
        except WorkflowError as error:
            return error
        raise AssertionError(f"the run did not fail: {outcome}")

"""Short ways to define and run workflows in tests, on a clock that only moves when told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

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
from headrace.workflows.limits import RunLimits
from headrace.workflows.running import Children

RUN_ID = "0f8b7a52-5f0c-4c5e-9d0e-0a4c1f0e7b11"
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


class Saved(NamedTuple):
    """What is stored of a run."""

    state: bytes | None = None
    journal: tuple[bytes, ...] = ()

    def after(self, parked: RunParked) -> Saved:
        """What is stored when it has parked."""
        if parked.state is not None:
            return Saved(parked.state, parked.entries)
        return Saved(self.state, self.journal + parked.entries)


@dataclass
class Bench:
    """Runs workflows and keeps what they report.

    `saved` is what is stored of the last run, `checkpoints` what was stored after each write, and
    `unpark_at` when a run goes on that has parked.
    """

    runtime: Runtime
    can_park: bool = False
    clock: datetime = START
    limits: RunLimits = field(default_factory=RunLimits)
    saved: Saved = field(default_factory=Saved)
    unpark_at: datetime | None = None
    checkpoints: list[Saved] = field(default_factory=list)
    progress: list[tuple[int, str]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    random: Callable[[], float] = lambda: 0.5
    children: Children | None = None
    on_checkpoint: Callable[[Saved], Awaitable[None]] | None = None

    @property
    def environment(self) -> Environment:
        return Environment(
            runtime=self.runtime,
            run_id=RUN_ID,
            now=lambda: self.clock,
            sleep=self._sleep,
            append=self._append,
            checkpoint=self._checkpoint,
            random=self.random,
            children=self.children,
            limits=self.limits,
            can_park=self.can_park,
            progress=lambda percent, message: self.progress.append((percent, message)),
            on_step=self.steps.append,
        )

    async def _sleep(self, seconds: float) -> None:
        if self.can_park and seconds >= 0.1:
            await asyncio.Event().wait()  # a branch at work keeps the run from parking
        self.slept.append(seconds)
        self.clock += timedelta(seconds=seconds)

    async def _append(self, entries: Sequence[bytes]) -> None:
        await self._store(Saved(self.saved.state, (*self.saved.journal, *entries)))

    async def _checkpoint(self, state: bytes) -> None:
        await self._store(Saved(state))

    async def _store(self, saved: Saved) -> None:
        self.saved = saved
        self.checkpoints.append(saved)
        if self.on_checkpoint is not None:
            await self.on_checkpoint(saved)

    async def execute(
        self, workflow: Workflow, variables: Any = None, saved: Saved | None = None
    ) -> RunCompleted | RunParked:
        """One attempt, from the start or from what was saved."""
        self.saved = Saved() if saved is None else saved
        given = {} if variables is None else variables
        outcome = await execute(
            workflow,
            given,
            environment=self.environment,
            state=self.saved.state,
            journal=self.saved.journal,
        )
        if isinstance(outcome, RunParked):
            self.saved = self.saved.after(outcome)
            self.unpark_at = outcome.unpark_at
        return outcome

    async def output(self, workflow: Workflow, variables: Any = None) -> Any:
        """The output of a run that completes in one go."""
        outcome = await self.execute(workflow, variables)
        assert isinstance(outcome, RunCompleted)
        return outcome.output

    async def parked(
        self, workflow: Workflow, variables: Any = None, saved: Saved | None = None
    ) -> Saved:
        """What is stored of a run that parks; `self.unpark_at` is when it goes on."""
        outcome = await self.execute(workflow, variables, saved)
        assert isinstance(outcome, RunParked)
        return self.saved

    async def error(self, workflow: Workflow, variables: Any = None) -> WorkflowError:
        """The error of a run that fails."""
        try:
            outcome = await self.execute(workflow, variables)
        except WorkflowError as error:
            return error
        raise AssertionError(f"the run did not fail: {outcome}")

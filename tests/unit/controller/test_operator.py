"""One operator's parts: what each waits for, and in which order they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest

from controller import crd, handlers
from controller.kube import Json
from controller.lease import Leadership
from controller.loop import Loop
from controller.main import EXIT_BROKEN, EXIT_DONE, Operator
from controller.metrics import Metrics
from controller.settings import Settings
from tests.unit.controller.fakes import FakeKube, deployment

Steps = list[str]


class Election(Leadership):
    """Is won when the test says so."""

    def __init__(self, steps: Steps) -> None:
        self.taken = asyncio.Event()
        self.lost = asyncio.Event()
        self._steps = steps

    def held(self) -> bool:
        return self.taken.is_set()

    async def run(self) -> None:
        try:
            await self.lost.wait()
        finally:
            self._steps.append("election ended")

    async def release(self) -> None:
        self._steps.append("released")


class Rounds(Loop):
    """Writes nothing, and takes a moment to end."""

    def __init__(self, steps: Steps) -> None:
        self.ticked_at = None
        self.fails = asyncio.Event()
        self._steps = steps

    async def run(self) -> None:
        self._steps.append("loop begun")
        try:
            await self.fails.wait()
            raise RuntimeError("broken")
        finally:
            await asyncio.sleep(0.05)
            self._steps.append("loop ended")


class Running:
    """An operator that runs, its CRD served."""

    def __init__(self) -> None:
        self.steps: Steps = []
        self.metrics = Metrics()
        self.operator = Operator(FakeKube(deployment(0), []), Settings(), self.metrics)
        self.election = self.operator._leadership = Election(self.steps)
        self.rounds = self.operator._loop = Rounds(self.steps)
        self.stop = asyncio.Event()

    async def spawn(self, *_: object) -> Collection[asyncio.Task[Any]]:
        return [asyncio.create_task(self._watch(), name="watch")]

    async def _watch(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.steps.append("watches ended")

    async def begun(self) -> asyncio.Task[int]:
        """The operator, a moment after it was started."""
        running = asyncio.create_task(self.operator.run(self.stop))
        await asyncio.sleep(0.05)
        return running


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    async def served(_: object) -> None:
        """At once."""

    made = Running()
    monkeypatch.setattr(crd, "wait_until_served", served)
    monkeypatch.setattr(crd, "warn_if_older", served)
    monkeypatch.setattr(handlers, "spawn", made.spawn)
    return made


ENDED = ["loop ended", "election ended", "released", "watches ended"]


async def test_nothing_is_looked_at_before_the_lead_is_taken(running: Running) -> None:
    task = await running.begun()
    assert running.steps == []
    running.election.taken.set()
    await asyncio.sleep(0.05)
    assert running.steps == ["loop begun"]
    running.stop.set()
    assert await asyncio.wait_for(task, 5) == EXIT_DONE


async def test_told_to_stop_it_gives_the_lead_away_after_the_last_write(running: Running) -> None:
    task = await running.begun()
    running.election.taken.set()
    await asyncio.sleep(0.05)
    running.stop.set()
    assert await asyncio.wait_for(task, 5) == EXIT_DONE
    assert running.steps == ["loop begun", *ENDED]


@pytest.mark.parametrize("part", ["election", "loop"])
async def test_when_a_part_ends_all_of_it_ends_as_broken(running: Running, part: str) -> None:
    task = await running.begun()
    running.election.taken.set()
    await asyncio.sleep(0.05)
    (running.election.lost if part == "election" else running.rounds.fails).set()
    assert await asyncio.wait_for(task, 5) == EXIT_BROKEN
    assert sorted(running.steps) == sorted(["loop begun", *ENDED])
    assert running.steps.index("loop ended") < running.steps.index("released")


async def test_a_failure_while_it_waits_for_the_crd_ends_it_as_broken(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise KeyError("resources")

    monkeypatch.setattr(crd, "wait_until_served", fail)
    assert await asyncio.wait_for(running.operator.run(running.stop), 5) == EXIT_BROKEN
    assert running.steps == []
    assert running.operator.unready() is not None


class Empty:
    """A cluster without any object."""

    async def pages(self, path: str) -> AsyncIterator[list[Json]]:
        yield []


async def test_it_is_shown_whether_it_leads_and_whether_its_watches_lack_nothing(
    running: Running,
) -> None:
    def shown(name: str) -> float | None:
        return running.metrics.registry.get_sample_value(f"headrace_operator_{name}")

    assert (shown("leader"), shown("synced")) == (0, 0)
    running.election.taken.set()
    await running.operator._watched.verify(Empty())
    assert (shown("leader"), shown("synced")) == (1, 1)

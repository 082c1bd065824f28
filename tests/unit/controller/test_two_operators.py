"""Two operators of different Leases over one resource: one acts, the other stands back."""

from __future__ import annotations

import asyncio
import itertools
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import structlog.testing

from controller.claims import FRESH_SECONDS
from controller.kube import Json, KubeError
from controller.loop import Loop
from controller.model import Queue
from controller.reconcile import Resource
from controller.resource import parse
from tests.unit.controller.fakes import LEASE, FakeKube, FakeReaders
from tests.unit.controller.world import AT_ONCE, STATUS, World

OTHER = "ops/headrace-operator"


class Stored(FakeKube):
    """Keeps the resource's status as an API server does, for the version that a patch is for."""

    def __init__(self, world: World) -> None:
        super().__init__(world.deployments[0], world.pods)
        self.body = world.body
        self.by: list[tuple[str, Json]] = []
        self._numbers = itertools.count(500)

    async def merge(self, path: str, body: Json) -> Json:
        if path == STATUS:
            metadata = self.body["metadata"]
            if (
                body["metadata"].get("resourceVersion", metadata["resourceVersion"])
                != (metadata["resourceVersion"])
            ):
                raise KubeError(409, "the object has been modified")
            metadata["resourceVersion"] = str(next(self._numbers))
            status = {**self.body.get("status", {}), **body["status"]}
            self.body["status"] = {
                name: value for name, value in deepcopy(status).items() if value is not None
            }
        return await super().merge(path, body)


class Pair:
    """The operator of the world, and another one of another Lease."""

    def __init__(self, replicas: int = 0, **spec: Any) -> None:
        self.world = World(replicas, {**AT_ONCE, **spec})
        del self.world.body["status"]
        self.world.kube = self.kube = Stored(self.world)
        self.world.start()
        around = replace(self.world.around, lease=OTHER, readers=FakeReaders(self.world.reader))
        self.other = Resource(around, self.world.body)

    async def second(self, times: int = 1, *, first: bool = True, other: bool = True) -> None:
        """Both look, one after the other."""
        for _ in range(times):
            self.world.clock.now += 1
            self.world.read()
            self.world.watch()
            body = deepcopy(self.world.body)
            fleet = [parse(body)]
            if first:
                await self.world.resource.tick(body, fleet[0], fleet)
                body = deepcopy(self.world.body)
            if other:
                await self.other.tick(body, fleet[0], fleet)

    def condition(self, kind: str) -> tuple[str, str, str]:
        conditions = self.world.body["status"]["conditions"]
        [found] = [condition for condition in conditions if condition["type"] == kind]
        return found["status"], found["reason"], found["message"]

    @property
    def acts(self) -> str:
        lease: str = self.world.body["status"]["operator"]["lease"]
        return lease


async def test_who_meets_anothers_mark_stands_back_and_it_is_told_whose_it_is() -> None:
    pair = Pair()
    await pair.second(3, other=False)
    assert pair.acts == LEASE
    assert pair.condition("Conflict")[0] == "False"
    pair.world.queue = Queue(queue_length=50)
    with structlog.testing.capture_logs() as lines:
        await pair.second(3, first=False)
    # Alone, with work at hand: it has written nothing but that it stands back.
    assert pair.kube.sizes == []
    assert pair.world.body["status"]["standby"]["lease"] == OTHER
    [line] = [line for line in lines if line["log_level"] == "warning"]
    assert line["error"] == f"the operator of {LEASE} acts for it, that of {OTHER} not"
    await pair.second(3)
    assert pair.kube.sizes == [10]
    flag, reason, message = pair.condition("Conflict")
    assert (flag, reason) == ("True", "Conflict")
    assert OTHER in message
    assert pair.condition("Ready")[0] == "True"
    assert [event for event, _ in pair.kube.events] == ["ScaledUp", "Conflict"]


async def test_two_that_begin_at_once_do_not_both_act() -> None:
    pair = Pair()
    pair.world.queue = Queue(queue_length=50)
    pair.world.clock.now += 1
    pair.world.read()
    body = deepcopy(pair.world.body)
    fleet = [parse(body)]
    # Neither has seen what the other writes.
    await pair.other.tick(body, fleet[0], fleet)
    await pair.world.resource.tick(body, fleet[0], fleet)
    assert pair.acts == OTHER
    assert pair.kube.sizes == [10]
    assert len(pair.kube.bodies(STATUS)) == 2
    await pair.second(5)
    assert pair.acts == OTHER
    assert pair.condition("Conflict")[0] == "True"


async def test_a_mark_that_nobody_renews_is_taken_over() -> None:
    pair = Pair()
    await pair.second(3, other=False)
    pair.world.queue = Queue(queue_length=50)
    await pair.second(int(FRESH_SECONDS) - 1, first=False)
    assert (pair.acts, pair.kube.sizes) == (LEASE, [])
    await pair.second(2, first=False)
    assert (pair.acts, pair.kube.sizes) == (OTHER, [10])
    assert "standby" not in pair.world.body["status"]
    # The first one comes back: now it is the one that stands back.
    await pair.second(3)
    assert pair.acts == OTHER
    assert pair.world.body["status"]["standby"]["lease"] == LEASE


async def test_who_is_told_to_stop_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def complete(source: object) -> None:
        """There is nothing to compare with."""

    pair = Pair()
    monkeypatch.setattr(pair.world.watched, "verify", complete)
    pair.world.read()
    loop = Loop(pair.world.around)
    running = asyncio.create_task(loop.run())
    await asyncio.sleep(0.1)
    assert pair.acts == LEASE
    running.cancel()
    await asyncio.wait([running])
    assert "operator" not in pair.world.body["status"]
    pair.world.queue = Queue(queue_length=50)
    await pair.second(1, first=False)
    assert (pair.acts, pair.kube.sizes) == (OTHER, [10])


async def test_who_stood_back_and_is_told_to_stop_is_no_conflict_any_more() -> None:
    pair = Pair()
    await pair.second(3)
    assert pair.condition("Conflict")[0] == "True"
    await pair.other.give_up()
    await pair.second(1, other=False)
    assert pair.condition("Conflict")[0] == "False"


async def test_a_quiet_pool_keeps_its_mark_fresh() -> None:
    pair = Pair()
    await pair.second(3 * int(FRESH_SECONDS))
    assert pair.acts == LEASE
    written = [body["status"] for body in pair.kube.bodies(STATUS)]
    # Each of the two once a minute, and what changed in the first seconds.
    assert len(written) <= 2 * 8 + 4


async def test_the_conflict_ends_when_the_other_one_has_gone() -> None:
    pair = Pair()
    await pair.second(5)
    assert pair.condition("Conflict")[0] == "True"
    await pair.second(int(FRESH_SECONDS) + 62, other=False)
    assert pair.condition("Conflict")[:2] == ("False", "NoConflict")
    assert "standby" not in pair.world.body["status"]
    assert [event for event, _ in pair.kube.events] == ["Conflict", "ConflictResolved"]


async def test_a_new_leader_of_the_same_lease_acts_at_once() -> None:
    pair = Pair()
    await pair.second(3, other=False)
    pair.world.resource = Resource(pair.world.around, deepcopy(pair.world.body))
    pair.world.queue = Queue(queue_length=50)
    await pair.second(1, other=False)
    assert pair.kube.sizes == [10]


async def test_who_stands_back_tells_nothing_of_what_is_wrong_either() -> None:
    pair = Pair()
    await pair.second(3, other=False)
    pair.world.deployments.clear()
    await pair.second(2, first=False)
    assert pair.condition("Ready")[0] == "True"


async def test_a_schema_that_drops_the_mark_costs_one_write() -> None:
    pair = Pair(minReplicas=1)

    class Older(Stored):
        async def merge(self, path: str, body: Json) -> Json:
            answer = await super().merge(path, body)
            self.body.get("status", {}).pop("operator", None)
            return answer

    pair.world.kube = pair.kube = Older(pair.world)
    pair.world.start()
    await pair.second(59, other=False)
    marks = [patch for patch in pair.kube.bodies(STATUS) if "conditions" not in patch["status"]]
    assert len(marks) == 1

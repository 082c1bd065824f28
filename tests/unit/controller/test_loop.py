"""The loop over all resources: when it looks, at which, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest
import structlog.testing

from controller.kube import Json
from controller.loop import Loop
from controller.model import Queue, Reading, Unread
from controller.polling import Reader, Readers
from controller.resource import Autoscaler, InvalidSpec
from tests.unit.controller.fakes import (
    NAMESPACE,
    FakeApi,
    FakeKube,
    FakeReader,
    FakeReaders,
    FakeWatched,
    autoscaler,
)
from tests.unit.controller.world import AT_ONCE, STATUS, World, rounds


class Late(FakeWatched):
    """Is complete at the third look."""

    looks = 0

    async def verify(self, source: object) -> None:
        self.looks += 1
        self.complete = self.looks >= 3


async def test_the_loop_verifies_until_the_watches_are_complete_and_then_looks_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controller.loop.ROUND_SECONDS", 0.01)
    monkeypatch.setattr("controller.loop.VERIFY_AGAIN_SECONDS", 0.01)
    world = World(3)
    world.read()
    late = Late([NAMESPACE])
    late.attach(world.watched._indices)
    loop = Loop(replace(world.around, watched=late, monotonic=time.monotonic))
    running = asyncio.create_task(loop.run())
    for _ in range(500):
        if world.kube.bodies(STATUS):
            break
        await asyncio.sleep(0.01)
    before = loop.ticked_at
    await asyncio.sleep(0.1)
    assert late.looks == 3
    assert before is not None
    assert loop.ticked_at is not None
    assert loop.ticked_at > before
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class Telling(FakeApi):
    """An API of its own for each address, whose stats are the test's."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    async def stats(self) -> Reading | Unread:
        self.world.clock.now += 0.001
        return Reading(
            at=self.world.clock.now, epoch="e1", queues={"tasks": self.world.queue}, workers=()
        )


async def test_a_reading_wakes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.loop.ROUND_SECONDS", 3600.0)
    monkeypatch.setattr("controller.polling.POLL_SECONDS", 0.05)
    world = World(0)
    complete = Late([NAMESPACE])
    complete.looks = 3
    complete.attach(world.watched._indices)
    readers = Readers(lambda address: Telling(world))
    running = asyncio.create_task(
        Loop(replace(world.around, readers=readers, watched=complete)).run()
    )
    await asyncio.sleep(0.3)
    assert world.kube.sizes == []
    world.queue = Queue(queue_length=50)
    await asyncio.sleep(0.5)
    assert world.kube.sizes == [10]
    running.cancel()
    await asyncio.wait([running])


async def test_a_reading_begins_no_round_of_what_another_api_tells() -> None:
    world = World(0)
    world.autoscalers.append(
        autoscaler("other", spec={"targetRef": {"name": "none"}, "api": {"url": "http://else"}})
    )
    world.start()
    readers = {"http://api:8000": FakeReader(world.api), "http://else": FakeReader(world.api)}

    class Two(FakeReaders):
        def of(self, autoscaler: Autoscaler) -> Reader:
            return readers[autoscaler.url]

        def asked_at(self, autoscaler: Autoscaler | InvalidSpec) -> float | None:
            assert isinstance(autoscaler, Autoscaler)
            return readers[autoscaler.url].asked_at

    loop = Loop(replace(world.around, readers=Two(world.reader)))

    async def begun() -> int:
        await loop.round()
        count = sum(not round_.done() for round_ in loop._rounds.values())
        await asyncio.gather(*loop._rounds.values())
        return count

    assert await begun() == 2
    assert await begun() == 0
    readers["http://else"].asked_at += 1
    assert await begun() == 1
    # Without a reading all are looked at again, a little later than one would come.
    world.clock.now += 1.0
    assert await begun() == 0
    world.clock.now += 0.2
    assert await begun() == 2


async def test_what_stays_incomplete_is_compared_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Never(FakeWatched):
        complete = False
        looks = 0

        async def verify(self, source: object) -> None:
            self.looks += 1

    monkeypatch.setattr("controller.loop.VERIFY_AGAIN_SECONDS", 0.01)
    never = Never([NAMESPACE])
    loop = Loop(replace(World(3).around, watched=never, monotonic=time.monotonic))
    running = asyncio.create_task(loop.run())
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # After 0.01, 0.02, 0.04 s and so on.
    assert 3 <= never.looks <= 7


async def test_nothing_is_looked_at_before_the_watches_are_complete() -> None:
    world = World(3)
    world.read()
    loop = Loop(world.around)
    world.watched.complete = False
    await rounds(loop)
    assert world.kube.writes == []
    world.watched.complete = True
    await rounds(loop)
    assert world.kube.bodies(STATUS)


async def test_a_deleted_resource_is_left_as_it_is_and_its_series_end() -> None:
    world = World(3)
    loop = Loop(world.around)
    world.read()
    await rounds(loop)
    assert len(world.api.taken()) == 3
    assert world.metric("replicas")
    world.autoscalers.clear()
    world.clock.now += 1
    await rounds(loop)
    assert world.metric("replicas") == []
    assert world.api.taken() == []
    assert world.kube.sizes == []


async def test_one_that_waits_for_finalizers_is_not_acted_for() -> None:
    world = World(3)
    world.body["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    world.read()
    await rounds(Loop(world.around))
    assert world.kube.writes == []


async def test_a_resource_re_created_under_its_name_begins_anew() -> None:
    world = World(3)
    loop = Loop(world.around)
    world.read()
    await rounds(loop)
    world.autoscalers[0] = autoscaler(spec=AT_ONCE, uid="another")
    world.clock.now += 1
    world.read()
    await rounds(loop)
    # It relies on no mark of its predecessor's.
    assert world.kube.sizes == []
    assert len(world.api.taken()) == 3
    assert world.kube.bodies(STATUS)[-1]["metadata"] == {"uid": "another"}


class Stuck(FakeKube):
    """Never answers for one resource's status."""

    async def merge(self, path: str, body: Json) -> Json:
        if path == STATUS:
            await asyncio.Event().wait()
        return await super().merge(path, body)


async def test_one_resource_that_hangs_holds_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.reconcile.LONGEST_ROUND_SECONDS", 0.2)
    world = World(3)
    world.autoscalers.append(autoscaler("other", spec={"targetRef": {"name": "none"}}))
    world.kube = Stuck(world.deployments[0], world.pods)
    world.start()
    world.read()
    loop = Loop(world.around)
    await loop.round()
    await asyncio.sleep(0.01)
    assert world.kube.status("other")
    stuck = loop._rounds["uid-workers"]
    await loop.round()
    assert loop._rounds["uid-workers"] is stuck
    with structlog.testing.capture_logs() as lines:
        await stuck
    assert [line["error"] for line in lines] == ["it took longer than 0.2 s"]
    assert any('kind="round"' in line for line in world.metric("errors_total"))


async def test_the_end_of_the_loop_is_that_of_its_rounds_and_readers() -> None:
    world = World(3)
    world.kube = Stuck(world.deployments[0], world.pods)
    world.start()
    world.read()
    kept: list[list[Autoscaler]] = []

    class Noted(FakeReaders):
        async def keep(self, autoscalers: Iterable[Autoscaler]) -> None:
            kept.append(list(autoscalers))

    late = Late([NAMESPACE])
    late.attach(world.watched._indices)
    loop = Loop(replace(world.around, readers=Noted(world.reader), watched=late))
    running = asyncio.create_task(loop.run())
    await asyncio.sleep(0.05)
    late.complete = True
    await loop.round()
    await asyncio.sleep(0.05)
    [stuck] = loop._rounds.values()
    running.cancel()
    await asyncio.wait([running])
    assert stuck.cancelled()
    assert loop._rounds == {}
    assert kept[-1] == []

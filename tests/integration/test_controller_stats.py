"""The operator's client on a real API, Redis and worker: what it reads, and what its marks do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from controller.api import Api, ApiError
from controller.decide import History, decide
from controller.kube import Json, Kube
from controller.marks import Marks
from controller.model import Observation, Reading, Reason, Spec, Unread
from controller.polling import Reader
from headrace import Context, TaskStatus, handler
from tests.integration.api.processes import ApiProcess
from tests.integration.worker.conftest import Bench, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.servers import RedisServer

KEYS = {role: f"a-key-of-the-role-{role}" for role in ("operator", "read")}


class Secrets(Kube):
    """One Secret with an API key."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def get(self, path: str, **query: str) -> Json:
        return {"metadata": {}, "data": {"key": base64.b64encode(self._key.encode()).decode()}}


@pytest.fixture
def process(server: RedisServer, tmp_path: Path) -> Iterator[ApiProcess]:
    """An API that asks for keys."""
    entries = [f"{role}:{hashlib.sha256(KEYS[role].encode()).hexdigest()}" for role in KEYS]
    settings = {"REDIS_URL": server.url, "API_KEYS": ",".join(entries)}
    with ApiProcess(tmp_path / "api.log", settings) as found:
        yield found


@pytest.fixture
async def connect(process: ApiProcess) -> AsyncIterator[Callable[[str], Api]]:
    """The operator's client with a key."""
    made: list[Api] = []

    def new(key: str = KEYS["operator"]) -> Api:
        made.append(Api(Secrets(key), (process.url, "shop", "operator-key"), own_url=process.url))
        return made[-1]

    yield new
    for api in made:
        await api.close()


@pytest.fixture
async def bench(server: RedisServer) -> AsyncIterator[Bench]:
    """A queue, and workers in this event loop."""
    found = Bench(server)
    yield found
    await found.close()


class Gate:
    """A task type whose tasks run until the test lets them end."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

        @handler("gate")
        async def gate(ctx: Context, payload: Any) -> None:
            await self.open.wait()

        self.type = gate


async def reading(api: Api) -> Reading:
    found = await api.stats()
    assert isinstance(found, Reading), found
    return found


async def test_a_live_reply_is_a_reading_and_can_be_decided_from(
    connect: Callable[[], Api], bench: Bench
) -> None:
    api, gate = connect(), Gate()
    bench.start(gate.type, concurrency=2)
    first = await bench.submit("gate")
    await bench.reached(first, TaskStatus.RUNNING)
    for _ in range(4):
        await bench.submit("gate")
    await until(lambda: _busy(api, 2))
    found = await reading(api)
    queue, [worker] = found.queues["gate"], found.workers
    assert (queue.queue_length, queue.running, queue.arrivals_total) == (3, 2, 5)
    assert (worker.concurrency, worker.busy_slots, worker.drained) == (2, 2, False)
    observation = Observation(reading=found, at=found.at, replicas=1, pods=())
    decision, _ = decide(observation, History(), Spec(queues=("gate",), concurrency=2), found.at)
    assert (decision.demand, decision.target) == (5, 3)
    gate.open.set()


async def _busy(api: Api, slots: int) -> bool:
    workers = (await reading(api)).workers
    return bool(workers) and workers[0].busy_slots == slots


async def test_a_marked_worker_claims_nothing_acknowledges_and_claims_again_when_lifted(
    connect: Callable[[], Api], bench: Bench
) -> None:
    api, gate, marks = connect(), Gate(), Marks()
    worker = bench.start(gate.type, concurrency=2).info.id
    runs = await bench.submit("gate")
    await bench.reached(runs, TaskStatus.RUNNING)
    await marks.keep(api, [worker])
    waits = await bench.submit("gate")

    async def drained() -> bool:
        asked_at = time.monotonic()
        [found] = marks.acknowledged(await reading(api), asked_at).workers
        assert found.draining
        return found.drained

    for _ in range(20):
        assert not await drained()
    gate.open.set()
    await until(drained)
    assert (await bench.queue.get(runs)).status is TaskStatus.COMPLETED
    assert (await bench.queue.get(waits)).status is TaskStatus.QUEUED
    # To an operator that has just started the acknowledgement says nothing.
    [found] = Marks().acknowledged(await reading(api), time.monotonic()).workers
    assert (found.draining, found.drained) == (True, False)
    await marks.lift(api, [worker])
    await bench.ended(waits)


async def test_a_worker_that_is_gone_counts_as_marked(connect: Callable[[], Api]) -> None:
    await Marks().keep(connect(), ["no-such-worker"])


async def test_a_key_that_may_only_read_sizes_up_and_cannot_drain(
    connect: Callable[[str], Api], bench: Bench
) -> None:
    api = connect(KEYS["read"])
    assert isinstance(await api.stats(), Reading)
    with pytest.raises(ApiError, match="role operator"):
        await Marks().keep(api, ["w"])


async def test_an_unknown_key_is_told(connect: Callable[[str], Api]) -> None:
    found = await connect("unknown").stats()
    assert isinstance(found, Unread)
    assert found.reason is Reason.STATS_UNAVAILABLE
    assert "role operator" in found.message


async def test_without_redis_there_is_no_reading_until_it_is_back(
    connect: Callable[[], Api], server: RedisServer
) -> None:
    reader = Reader(connect(), draw=lambda: 0.0)
    await until(lambda: isinstance(reader.latest, Reading))
    server.terminate()
    await until(lambda: isinstance(reader.latest, Unread))
    assert isinstance(reader.latest, Unread)
    assert reader.latest.reason is Reason.STATS_UNAVAILABLE
    server.start()
    await until(lambda: isinstance(reader.latest, Reading))
    await reader.close()


async def test_with_redis_hanging_there_is_no_reading(
    connect: Callable[[], Api], server: RedisServer
) -> None:
    reader = Reader(connect(), draw=lambda: 0.0)
    await until(lambda: isinstance(reader.latest, Reading))
    server.pause()
    try:
        await until(lambda: isinstance(reader.latest, Unread), 6)
    finally:
        server.resume()
        await reader.close()


async def test_a_queue_that_is_switched_off_is_told(tmp_path: Path) -> None:
    with ApiProcess(tmp_path / "off.log", {"QUEUE_ENABLED": "false"}) as process:
        api = Api(Secrets(""), (process.url, "shop", None))
        found = await api.stats()
        await api.close()
    assert isinstance(found, Unread)
    assert found.reason is Reason.STATS_DISABLED

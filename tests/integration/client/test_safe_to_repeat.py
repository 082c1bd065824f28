"""Whatever happens on the way: each submit makes one task, and no wait loses its result.

`make test` sends a share of the submits, `make soak` all (HEADRACE_CLIENT_SUBMITS).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headrace import AsyncClient, Client
from headrace.client.http_calls import HttpCalls
from headrace.client.steps import Rules
from tests.conftest import ServerFactory
from tests.integration.api.processes import ApiProcess
from tests.integration.client.chaotic_proxy import ChaoticProxy, Fate
from tests.integration.client.conftest import System
from tests.integration.worker.conftest import Process
from tests.sentinels import watched_master
from tests.servers import RedisServer, free_port

SUBMITS = int(os.environ.get("HEADRACE_CLIENT_SUBMITS", "300"))
THREADS = 16 if SUBMITS < 1000 else 64
WEIGHTS: dict[Fate, float] = {
    "pass": 80,
    "cut before": 4,
    "cut the reply": 4,
    "lose the reply": 4,
    "cut after": 4,
    "503": 2,
    "hang": 2,
}
SECONDS = 40.0


@pytest.mark.timeout(600)
def test_however_often_a_submit_has_to_be_sent_it_makes_one_task(system: System) -> None:
    with (
        Client(system.url("http")) as direct,
        ChaoticProxy(system.api.port, WEIGHTS, seed=20260101, hang_seconds=2.0) as proxy,
        Client(proxy.url) as client,
    ):
        calls = client.calls
        assert isinstance(calls, HttpCalls)
        calls.rules = Rules(request_seconds=1.0)
        before = arrivals(direct)
        with ThreadPoolExecutor(THREADS) as threads:
            ids = list(threads.map(lambda _: client.submit("act", []).id, range(SUBMITS)))
        assert len(set(ids)) == SUBMITS
        assert arrivals(direct) - before == SUBMITS
        assert set(proxy.fates) == set(WEIGHTS)
        handles = [direct.handle(task_id) for task_id in ids]
        assert direct.gather(handles, SECONDS) == [{"steps": 0}] * SUBMITS


def arrivals(client: Client) -> int:
    return client.queues.stats().queues["act"].arrivals_total


@dataclass
class Surroundings:
    """A worker, and an API on a port that it keeps over a restart."""

    redis_url: str
    folder: Path
    restart_redis: Callable[[], object]
    port: int = field(default_factory=free_port)
    apis: list[ApiProcess] = field(default_factory=list)

    def start_api(self) -> None:
        settings = {"REDIS_URL": self.redis_url, "PORT": str(self.port)}
        self.apis.append(ApiProcess(self.folder / f"api-{len(self.apis)}.log", settings))
        assert self.apis[-1].port == self.port

    def restart_api(self) -> None:
        self.apis[-1].terminate()
        self.apis[-1].wait()
        self.start_api()

    def result_over(self, restart: Callable[[], object], way: str) -> object:
        """Submit a task, restart something while its result is waited for; the result."""
        url = f"http://127.0.0.1:{self.port}" if way == "http" else self.redis_url
        with Client(url) as client, ThreadPoolExecutor(1) as thread:
            handle = client.submit("nap", 3.0)
            waiting = thread.submit(handle.result, SECONDS)
            time.sleep(0.7)
            restart()
            return waiting.result()

    def awaited_over_by_itself(self, restart: Callable[[], object], way: str) -> object:
        """The same on an event loop."""
        return asyncio.run(self.awaited_over(restart, way))

    async def awaited_over(self, restart: Callable[[], object], way: str) -> object:
        url = f"http://127.0.0.1:{self.port}" if way == "http" else self.redis_url
        async with AsyncClient(url) as client:
            handle = await client.submit("nap", 3.0)
            waiting = asyncio.create_task(handle.result(SECONDS))
            await asyncio.sleep(0.7)
            await asyncio.to_thread(restart)
            return await waiting


@contextlib.contextmanager
def surrounded(
    redis: RedisServer, url: str, folder: Path, restart_redis: Callable[[], object]
) -> Iterator[Surroundings]:
    worker = Process(redis, folder / "worker.log", REDIS_URL=url, QUEUES="nap", MAX_WORKERS="10")
    found = Surroundings(url, folder, restart_redis)
    try:
        found.start_api()
        yield found
    finally:
        worker.kill()
        for api in found.apis:
            api.__exit__(None, None, None)


@pytest.fixture
def restartable(new_server: ServerFactory, tmp_path: Path) -> Iterator[Surroundings]:
    """With a Redis that keeps its data over a kill."""
    redis = new_server(appendfsync="always")

    def restart() -> None:
        redis.kill()
        time.sleep(1.0)
        redis.start()

    with surrounded(redis, redis.url, tmp_path, restart) as found:
        yield found


def all_results(found: Surroundings, restart: Callable[[], object]) -> list[object]:
    """Of four clients that wait while something restarts: two ways, blocking and not."""
    once = _Once(restart)
    ways = ("http", "redis")
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(found.result_over, once, way) for way in ways]
        waiting += [threads.submit(found.awaited_over_by_itself, once, way) for way in ways]
        return [it.result() for it in waiting]


class _Once:
    """Does it for the first who asks; the others wait until it is done."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        with self._lock:
            if not self._done:
                self._act()
                self._done = True


def ended_well(results: list[object]) -> bool:
    return len(results) == 4 and all(isinstance(it, dict) and it["attempt"] for it in results)


def test_every_wait_outlasts_a_restart_of_the_api(restartable: Surroundings) -> None:
    assert ended_well(all_results(restartable, restartable.restart_api))


def test_every_wait_outlasts_a_restart_of_redis(restartable: Surroundings) -> None:
    assert ended_well(all_results(restartable, restartable.restart_redis))


def test_every_wait_outlasts_a_failover(new_server: ServerFactory, tmp_path: Path) -> None:
    with watched_master(new_server, tmp_path) as watched:
        kill = watched.master.kill
        with surrounded(watched.master, watched.url, tmp_path, kill) as found:
            assert ended_well(all_results(found, kill))

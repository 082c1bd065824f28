"""The tend loop of several processes on one Redis."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx2

from headrace.taskqueue import TaskQueue
from headrace_api.tend import LEASE, Tend, Trimming
from tests.conftest import ServerFactory
from tests.integration.api.processes import ApiProcess
from tests.integration.taskqueue.rig import until
from tests.servers import RedisServer, free_port

T = TypeVar("T")

LEASE_SECONDS = 1.5
STEPS = "{test}:steps"

PROCESS = """
import asyncio, sys
import redis.asyncio
from headrace.taskqueue import TaskQueue
from headrace_api.tend import Tend

class Work:
    name, every_seconds = "work", 0.0

    async def step(self, lease):
        # Between these two no other process may do the same.
        await raw.rpush(sys.argv[2], f"{sys.argv[3]} begins")
        await asyncio.sleep(0.05)
        await lease.trim_ended(10, 10)
        await raw.rpush(sys.argv[2], f"{sys.argv[3]} ends")
        return False

async def main():
    global raw
    raw = redis.asyncio.Redis.from_url(sys.argv[1])
    queue = TaskQueue(sys.argv[1])
    lease = queue.fenced_lease("periodic", float(sys.argv[4]))
    await Tend(lease, [Work()]).run()

asyncio.run(main())
"""


@contextlib.contextmanager
def process(server: RedisServer, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a tend loop."""
    command = [sys.executable, "-c", PROCESS, server.default_url, STEPS, name, str(LEASE_SECONDS)]
    started = subprocess.Popen(command)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def steps(server: RedisServer) -> list[str]:
    return [step.decode() for step in server.client.lrange(STEPS, 0, -1)]  # type: ignore[union-attr]


async def seen(server: RedisServer, wanted: str, seconds: float) -> float:
    """Wait until a step is there; how long it took."""
    began = time.monotonic()
    while wanted not in steps(server):
        assert time.monotonic() - began < seconds, f"no {wanted!r} in {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_when_a_process_is_killed_another_takes_over_within_its_lease(
    server: RedisServer,
) -> None:
    with process(server, "first") as first, process(server, "second") as second:
        await asyncio.sleep(0)
        began = time.monotonic()
        while len(steps(server)) < 6:
            assert time.monotonic() - began < 20
            await asyncio.sleep(0.05)
        holder, other = ("first", "second")
        if steps(server)[0].startswith("second"):
            holder, other = other, holder
        assert {step.split()[0] for step in steps(server)} == {holder}
        (first if holder == "first" else second).kill()
        took = await seen(server, f"{other} ends", seconds=LEASE_SECONDS + 5)
        assert took < LEASE_SECONDS + 2
    found = steps(server)
    change = next(n for n, step in enumerate(found) if step.startswith(other))
    assert all(step.startswith(holder) for step in found[:change])
    assert all(step.startswith(other) for step in found[change:])
    assert server.client.hget("{headrace}:tend:periodic", "fence") == b"2"


async def test_an_outage_of_redis_holds_the_work_and_it_recovers(
    new_server: ServerFactory,
) -> None:
    server = new_server(appendfsync="always")
    queue = TaskQueue(server.url)
    lease = queue.fenced_lease(LEASE, LEASE_SECONDS)
    tend = Tend(lease, [Trimming(2, 100)])
    running = asyncio.create_task(tend.run())
    name = "{headrace}:ended:report:completed"

    async def holds() -> bool:
        return tend.holds

    async def size() -> int:
        return int(server.client.zcard(name))

    try:
        await until(holds, bool, 10)
        server.kill()
        await until(holds, lambda held: not held, 10)
        server.start()
        now_ms = int(time.time() * 1000)
        server.client.zadd(name, {f"task-{n}": now_ms + n for n in range(5)})
        server.client.sadd("{headrace}:queues", "report")
        await until(holds, bool, 10)
        await until(size, lambda entries: entries == 2, 10)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await queue.close()


def test_of_two_apis_one_trims_and_hands_over_when_it_ends(
    server: RedisServer, tmp_path: Path
) -> None:
    name = "{headrace}:ended:report:completed"
    now_ms = int(time.time() * 1000)
    server.client.zadd(name, {f"task-{n}": now_ms + n for n in range(50)})
    server.client.sadd("{headrace}:queues", "report")
    settings = {"REDIS_URL": server.url, "ENDED_INDEX_MAX": "20", "LOG_LEVEL": "debug"}
    metrics_port = str(free_port())
    with ApiProcess(tmp_path / "one", settings, METRICS_PORT=metrics_port) as first:
        wait_for(lambda: first.events("tend.taken"))
        with ApiProcess(tmp_path / "two", settings) as second:
            wait_for(lambda: server.client.zcard(name) == 20)
            assert second.url
            time.sleep(0.5)
            assert not second.events("tend.taken")
            metrics = httpx2.get(f"http://127.0.0.1:{metrics_port}/metrics").text
            assert "headrace_tend_holds 1.0" in metrics
            assert re.search(r'headrace_tend_runs_total{duty="trim",result="ok"} [1-9]', metrics)
            assert [line["entries"] for line in first.events("tend.trimmed")] == [30]
            first.terminate()
            assert first.wait() == 0
            # It asks every 10 s; the lease, had it not been given up, would last 30.
            [taken] = wait_for(lambda: second.events("tend.taken"), seconds=15)
            assert taken["fence"] == 2


def wait_for(look: Callable[[], T], seconds: float = 20.0) -> T:
    """Look until there is something; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return found

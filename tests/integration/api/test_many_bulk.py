"""A bulk retry of very many dead letters, with no worker, by two API processes.

HEADRACE_DEAD_LETTERS=100000 retries more of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from benchmarks.figures import percentile
from headrace.taskqueue import Consumer, Failed, NewTask, TaskQueue, WorkerInfo, new_id
from tests.integration.api.processes import ApiProcess
from tests.integration.api.test_tend import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer

pytestmark = pytest.mark.soak

COUNT = int(os.environ.get("HEADRACE_DEAD_LETTERS", "20000"))
BATCH = 200
MOST_TIMES_SLOWER = 2.0


def consumer(queue: TaskQueue, task_type: str) -> Consumer:
    return queue.consumer(
        WorkerInfo(
            id=f"hand-{task_type}",
            host="test",
            pod=None,
            pid=1,
            version="0.3.0",
            queues=[task_type],
            concurrency=BATCH,
            started_at_ms=int(time.time() * 1000),
        )
    )


async def make_dead_letters(queue: TaskQueue) -> None:
    worker = consumer(queue, "dead")
    await worker.register()
    for start in range(0, COUNT, BATCH):
        count = min(BATCH, COUNT - start)
        tasks = [
            NewTask(type="dead", payload=b"1", id=new_id(), max_retries=0) for _ in range(count)
        ]
        await queue.submit_many(tasks)
        claimed = (await worker.claim(BATCH)).tasks
        await worker.settle([Failed(task, "no", None, 1) for task in claimed])
    await worker.deregister()
    await worker.close()


class Latencies:
    """Submits a task every 5 ms and claims it, all the time; how long both take."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue
        self.submits: list[float] = []
        self.claims: list[float] = []

    async def run(self, worker: Consumer) -> None:
        while True:
            began = time.perf_counter()
            await self._queue.submit(NewTask(type="quick", payload=b"1", id=new_id()))
            submitted = time.perf_counter()
            [task] = (await worker.claim(1)).tasks
            self.claims.append(time.perf_counter() - submitted)
            self.submits.append(submitted - began)
            await worker.settle([Failed(task, "no", None, 1)])
            await asyncio.sleep(0.005)

    def take(self) -> dict[str, float]:
        """The 99th percentiles since the last call, in ms."""
        found = {
            "submit": percentile(self.submits, 99) * 1000,
            "pick-up": percentile(self.claims, 99) * 1000,
        }
        self.submits, self.claims = [], []
        return found


async def progress(client: httpx2.AsyncClient, bulk_id: str, at_least: int) -> dict[str, Any]:
    """Wait until it was done for so many."""
    deadline = time.monotonic() + 300
    while True:
        body: dict[str, Any] = (await client.get(f"/api/bulk/{bulk_id}")).json()
        if body["done"] >= at_least and body["status"] != "collecting":
            return body
        assert time.monotonic() < deadline, body
        await asyncio.sleep(0.2)


async def test_a_bulk_retry_is_stopped_half_way_and_goes_on_in_another_process(
    server: RedisServer, tmp_path: Path
) -> None:
    queue = TaskQueue(server.url)
    await make_dead_letters(queue)
    worker = consumer(queue, "quick")
    latencies = Latencies(queue)
    settings = {"REDIS_URL": server.url}
    with contextlib.ExitStack() as processes:
        first = processes.enter_context(ApiProcess(tmp_path / "one", settings))
        await asyncio.to_thread(wait_for, lambda: first.events("tend.taken"))
        second = processes.enter_context(ApiProcess(tmp_path / "two", settings))
        await worker.register()
        measuring = asyncio.create_task(latencies.run(worker))
        async with httpx2.AsyncClient(base_url=second.url) as client:
            await asyncio.sleep(2.0)
            latencies.take()
            await asyncio.sleep(5.0)
            before = latencies.take()
            wanted = {"action": "retry", "filter": {"type": "dead"}}
            bulk_id = (await client.post("/api/bulk", json=wanted)).json()["bulk_id"]
            began = time.monotonic()
            await progress(client, bulk_id, COUNT // 2)
            seconds = time.monotonic() - began
            meanwhile = latencies.take()
            stopped = (await client.post(f"/api/bulk/{bulk_id}/stop")).json()
            assert COUNT // 2 <= stopped["done"] < stopped["total"] == COUNT
            first.process.kill()
            await asyncio.sleep(1.0)
            assert (await progress(client, bulk_id, 0))["done"] == stopped["done"]
            await client.post(f"/api/bulk/{bulk_id}/resume")
            body = await progress(client, bulk_id, COUNT)
            assert (body["status"], body["failed"]) == ("completed", 0)
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
    assert (await queue.stats()).queues["dead"].queue_length == COUNT
    await worker.close()
    await queue.close()
    rate = COUNT / 2 / seconds
    print(f"\n{COUNT} dead letters, {rate:.0f}/s; p99 in ms before {before}, meanwhile {meanwhile}")
    for name, value in meanwhile.items():
        assert value <= MOST_TIMES_SLOWER * before[name], name

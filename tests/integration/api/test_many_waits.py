"""Thousands of clients that wait at one API process, while 500 tasks a second end.

HEADRACE_WAITERS=10000 measures more of them.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from benchmarks.figures import percentile
from headrace.taskqueue import Completed, NewTask, TaskQueue, WorkerInfo, new_id
from tests.integration.api.processes import ApiProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer

pytestmark = pytest.mark.soak

WAITERS = int(os.environ.get("HEADRACE_WAITERS", "2000"))
ENDS_PER_SECOND = 500
AT_ONCE = 25
MAX_P99_SECONDS = 0.25
MAX_RSS_BYTES = 512 * 1024 * 1024


async def wait(address: tuple[str, int], task_id: str, asked: asyncio.Event) -> float:
    """Wait as a client does, again and again until the task has ended; when it was told."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        while True:
            writer.write(
                f"GET /api/tasks/{task_id} HTTP/1.1\r\nHost: localhost\r\n"
                "Prefer: wait=60\r\n\r\n".encode()
            )
            asked.set()
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            [length] = [
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.startswith(b"content-length")
            ]
            body = await reader.readexactly(length)
            if b'"status":"completed"' in body:
                return time.monotonic()
    finally:
        writer.close()


async def end_all(queue: TaskQueue, count: int) -> dict[str, float]:
    """End tasks at a steady pace; when each did."""
    consumer = queue.consumer(
        WorkerInfo(
            id="ender",
            host="test",
            pod=None,
            pid=1,
            version="0.3.0",
            queues=["measured"],
            concurrency=AT_ONCE,
            started_at_ms=int(time.time() * 1000),
        )
    )
    await consumer.register()
    ended: dict[str, float] = {}
    began = time.monotonic()
    while len(ended) < count:
        tasks = (await consumer.claim(AT_ONCE)).tasks
        due = began + len(ended) / ENDS_PER_SECOND
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        await consumer.settle([Completed(task, b"1", 1) for task in tasks])
        ended |= {task.id: now for task in tasks}
    await consumer.close()
    return ended


async def test_thousands_wait_at_one_process_and_hear_at_once(
    server: RedisServer, tmp_path: Path
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(WAITERS + 500, hard), hard))
    settings = {
        "REDIS_URL": server.url,
        "MAX_CONNECTIONS": str(WAITERS + 100),
        "MAX_WAITS": str(WAITERS),
        "MAX_WAITED_TASKS": str(WAITERS),
    }
    queue = TaskQueue(server.url)
    ids = [new_id() for _ in range(WAITERS)]
    for start in range(0, WAITERS, 1000):
        await queue.submit_many(
            [NewTask(type="measured", payload=b"1", id=i) for i in ids[start : start + 1000]]
        )
    with ApiProcess(tmp_path / "log", settings) as process:
        url = urlsplit(process.url)
        address = (str(url.hostname), int(url.port or 0))
        waiting = []
        for start in range(0, WAITERS, 100):
            asked = [asyncio.Event() for _ in ids[start : start + 100]]
            waiting += [
                asyncio.create_task(wait(address, task_id, event))
                for task_id, event in zip(ids[start : start + 100], asked, strict=True)
            ]
            for event in asked:
                await event.wait()
        await asyncio.sleep(2.0)
        assert server.client.pubsub_numsub("{headrace}:ends") == [(b"{headrace}:ends", 1)]
        api = psutil.Process(process.process.pid)
        rss, before = api.memory_info().rss, api.cpu_times()
        ended = await end_all(queue, WAITERS)
        async with asyncio.timeout(30):
            answered = dict(zip(ids, await asyncio.gather(*waiting), strict=True))
        rss, after = max(rss, api.memory_info().rss), api.cpu_times()
    await queue.close()
    late = [answered[task_id] - ended[task_id] for task_id in ids]
    p50, p99 = percentile(late, 50), percentile(late, 99)
    lines = f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, max {max(late) * 1000:.0f} ms"
    cpu = after.user + after.system - before.user - before.system
    each = f"{cpu / WAITERS * 1000:.2f} ms of the processor each"
    print(f"\n{WAITERS} waiters: {lines}, {rss / 2**20:.0f} MiB, {each}")
    assert rss <= MAX_RSS_BYTES
    assert p99 <= MAX_P99_SECONDS or WAITERS > 2000

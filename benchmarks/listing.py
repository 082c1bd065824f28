"""What the list of tasks and their counts cost, beside many waiting and many ended tasks.

python benchmarks/listing.py [WAITING] [ENDED]      (1,000,000 and 100,000)
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import processes
from benchmarks.submitting import fill
from benchmarks.tasks import clock, noop
from headrace.taskqueue import (
    MAX_BATCH,
    Completed,
    Failed,
    NewTask,
    TaskQueue,
    WorkerInfo,
    new_id,
)
from headrace.taskqueue.scripts import script

CALLS = 200
OURS = {script(name).sha for name in ("list", "counts")}
"""What else the API asks Redis meanwhile is none of a request's."""


def _ended() -> NewTask:
    return NewTask(type=clock.name, payload=b'{"number":1,"customer":"a"}', id=new_id())


async def end(url: str, count: int) -> None:
    """So many tasks that have ended, one in ten of them failed."""
    queue = TaskQueue(url)
    worker = queue.consumer(
        WorkerInfo(
            id="benchmark",
            host="host",
            pod=None,
            pid=1,
            version="1",
            queues=[clock.name],
            concurrency=1,
            started_at_ms=0,
        )
    )
    await worker.register()
    await fill(url, count, _ended)
    while claimed := (await worker.claim(MAX_BATCH)).tasks:
        await worker.settle(
            [
                Failed(task, "ValueError: no", None, 1) if n % 10 == 0 else Completed(task, b"1", 1)
                for n, task in enumerate(claimed)
            ]
        )
    await worker.deregister()
    await worker.close()
    await queue.close()


def measured(redis: processes.Redis, port: int, path: str) -> tuple[float, ...]:
    """Milliseconds: the longest script; what a request costs Redis, and over HTTP: p50, p95."""
    over_http, in_redis, longest = [], [], 0.0
    address = f"http://127.0.0.1:{port}{path}"
    for _ in range(CALLS):
        redis.client.slowlog_reset()
        began = time.perf_counter()
        with urllib.request.urlopen(address) as reply:
            reply.read()
        over_http.append((time.perf_counter() - began) * 1e3)
        scripts = [
            entry["duration"] / 1e3
            for entry in redis.client.slowlog_get(128)
            if entry["command"].partition(b" ")[2][:40].decode() in OURS
        ]
        in_redis.append(sum(scripts))
        longest = max(longest, *scripts, 0.0)
    figures = [f(s) for s in (in_redis, over_http) for f in (statistics.median, p95)]
    return longest, *figures


def p95(samples: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(samples, n=20)[-1]


def main(waiting: int, ended: int) -> None:
    """Measure, and print a line a request."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with processes.Redis(processes.find_redis(), folder) as redis:
            url = redis.url(0)
            asyncio.run(end(url, ended))
            asyncio.run(fill(url, waiting))
            with processes.api(url, folder) as api:
                asyncio.run(api.ready())
                redis.client.config_set("slowlog-log-slower-than", 0)
                _print_all(redis, api.port)


def _print_all(redis: processes.Redis, port: int) -> None:
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"{'ms':56} {'script max':>10} {'Redis p50':>10} {'p95':>7} {'HTTP p50':>9} {'p95':>7}")
    for path in (
        "/api/tasks",
        "/api/tasks?limit=200",
        f"/api/tasks?type={noop.name}&limit=200",
        f"/api/tasks?type={clock.name}&status=completed&limit=200",
        "/api/tasks?status=failed&limit=200",
        f"/api/tasks?ended_after={hour_ago}&limit=200",
        "/api/tasks?status=queued&limit=200",
        "/api/tasks/counts",
        "/api/tasks?q=nothing",
    ):
        longest, redis_p50, redis_p95, http_p50, http_p95 = measured(redis, port, path)
        print(
            f"{path:56} {longest:10.2f} {redis_p50:10.2f} {redis_p95:7.2f} "
            f"{http_p50:9.2f} {http_p95:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(*([int(argument) for argument in sys.argv[1:]] or [1_000_000, 100_000]))

"""How fast one worker process empties a queue."""

from __future__ import annotations

import asyncio

from benchmarks.processes import Worker
from benchmarks.submitting import fill
from benchmarks.tasks import noop
from headrace.taskqueue import TaskQueue

POLL_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0


async def drain(worker: Worker, count: int) -> float:
    """Tasks a second, as Redis counts completions: from the worker's first one to its last.

    The worker is paused while the queue is filled.
    """
    queue = TaskQueue(worker.url)
    try:
        before, _ = await _completions(queue)
        worker.pause()
        await fill(worker.url, count)
        worker.resume()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TIMEOUT_SECONDS
        first = None
        while True:
            done, at = await _completions(queue)
            if first is None and done > before:
                first = (done, at)
            if first is not None and done >= before + count:
                return (done - first[0]) / (at - first[1])
            worker.check()
            if loop.time() > deadline:
                raise TimeoutError(f"{worker.name} ran {done - before} of {count} tasks in time")
            await asyncio.sleep(POLL_SECONDS)
    finally:
        worker.resume()
        await queue.close()


async def _completions(queue: TaskQueue) -> tuple[int, float]:
    stats = await queue.stats((noop.name,))
    return stats.queues[noop.name].completions_total, stats.at.timestamp()

"""How fast one worker process empties a queue, and the processor time that it costs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import redis

from benchmarks.submitting import fill, new_task
from headrace.taskqueue import NewTask, TaskQueue

POLL_SECONDS = 0.02
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Drained:
    """What emptying a queue took."""

    rate: float
    """Tasks a second, as Redis counts completions: from the worker's first one to its last."""
    worker_us: float
    """Processor time of the worker, in microseconds a task. Steadier than the rate when other
    programs use the machine."""
    redis_us: float
    """The same of the Redis server."""


async def drain(url: str, pid: int, count: int, make: Callable[[], NewTask] = new_task) -> Drained:
    """Fill the queue while the worker, a process, is paused; then let it work."""
    queue, task_type = TaskQueue(url), make().type
    process = psutil.Process(pid)
    try:
        before, _ = await _completions(queue, task_type)
        os.kill(pid, signal.SIGSTOP)
        await fill(url, count, make)
        spent = _spent(url, process)
        os.kill(pid, signal.SIGCONT)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TIMEOUT_SECONDS
        first = None
        while True:
            done, at = await _completions(queue, task_type)
            if first is None and done > before:
                first = (done, at)
            if first is not None and done >= before + count:
                break
            if loop.time() > deadline or process.status() == psutil.STATUS_ZOMBIE:
                raise TimeoutError(f"the worker ran {done - before} of {count} tasks in time")
            await asyncio.sleep(POLL_SECONDS)
        worker, server = (
            (after - before) / count * 1e6
            for before, after in zip(spent, _spent(url, process), strict=True)
        )
        return Drained((done - first[0]) / (at - first[1]), worker, server)
    finally:
        os.kill(pid, signal.SIGCONT)
        await queue.close()


def _spent(url: str, process: psutil.Process) -> tuple[float, float]:
    """Seconds of processor time so far: the worker's and the server's."""
    worker = process.cpu_times()
    return worker.user + worker.system, server_seconds(url)


def server_seconds(url: str) -> float:
    """Seconds of processor time that the Redis server has used so far."""
    with redis.Redis.from_url(url) as client:
        spent = client.info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"])


async def _completions(queue: TaskQueue, task_type: str) -> tuple[int, float]:
    stats = await queue.stats((task_type,))
    return stats.queues[task_type].completions_total, stats.at.timestamp()

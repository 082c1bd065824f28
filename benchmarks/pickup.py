"""How long a task waits for an idle worker, beside a bare hand-over between two processes."""

from __future__ import annotations

import asyncio
import time

import redis

from benchmarks.popper import ARRIVED, HANDED, STOP
from benchmarks.submitting import new_task
from benchmarks.tasks import clock
from headrace.taskqueue import TaskQueue

PAUSE_SECONDS = 0.006
"""Between two: long enough for everyone to be idle again."""
SETTLE_TIMEOUT_SECONDS = 10.0


async def pick_up(queue_url: str, bare_url: str, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from before a submit to the start of its handler, and from before an RPUSH
    to the return of the other process's BLPOP; one of each in turn.
    """
    queue = TaskQueue(queue_url)
    bare = redis.Redis.from_url(bare_url)
    try:
        await queue.connect()
        bare.delete(HANDED, ARRIVED)
        submitted: dict[str, int] = {}
        pushed: list[int] = []
        for number in range(count):
            task = new_task(clock.name)
            submitted[task.id] = time.time_ns()
            await queue.submit(task)
            await asyncio.sleep(PAUSE_SECONDS)
            pushed.append(time.time_ns())
            bare.rpush(HANDED, number)
            await asyncio.sleep(PAUSE_SECONDS)
        bare.rpush(HANDED, STOP)
        started = await _started(queue, list(submitted))
        arrived = await _arrived(bare, count)
    finally:
        bare.close()
        await queue.close()
    ours = [(began - submitted[task_id]) / 1e6 for task_id, began in started.items()]
    return ours, [(arrived[number] - pushed[number]) / 1e6 for number in range(count)]


async def _started(queue: TaskQueue, task_ids: list[str]) -> dict[str, int]:
    """When each task's handler began: what it returned."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        tasks = [task for task in await queue.get_many(task_ids) if task is not None]
        found = {task.id: int(task.result) for task in tasks if task.result is not None}
        if len(found) == len(task_ids):
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError("the worker did not run all the tasks")


async def _arrived(bare: redis.Redis, count: int) -> dict[int, int]:
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        found = {int(number): int(at) for number, at in bare.hgetall(ARRIVED).items()}
        if len(found) == count:
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError("the other process did not get all the values")

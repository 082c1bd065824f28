"""How fast one client submits: one task after the other, and a thousand at a time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from benchmarks.tasks import Order, noop
from headrace import taskqueue
from headrace.taskqueue import MAX_BATCH, NewTask, TaskQueue, new_id

_numbers = itertools.count(1_000_000)


def new_task(task_type: str = noop.name) -> NewTask:
    """A task as a client makes it: its payload checked by pydantic and written as JSON."""
    order = Order(number=next(_numbers), customer="Ada Lovelace")
    return NewTask(type=task_type, payload=order.model_dump_json().encode(), id=new_id())


async def one_by_one(url: str, seconds: float) -> float:
    """Tasks a second when each submit waits for the one before."""
    queue = TaskQueue(url)
    try:
        await queue.connect()
        done, began = 0, time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            await queue.submit(new_task())
            done += 1
        return done / (time.perf_counter() - began)
    finally:
        await queue.close()


def one_by_one_sync(url: str, seconds: float) -> float | None:
    """The same by the blocking client; None for a version of Headrace that has none."""
    blocking = getattr(taskqueue, "BlockingTaskQueue", None)
    if blocking is None:
        return None
    with blocking(url) as queue:
        queue.connect()
        done, began = 0, time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            queue.submit(new_task())
            done += 1
        return done / (time.perf_counter() - began)


async def in_bulk(url: str, seconds: float) -> tuple[float, float]:
    """Tasks a second in batches of 1000: with the time that making the tasks takes, and without."""
    queue = TaskQueue(url)
    try:
        await queue.connect()
        done, making, began = 0, 0.0, time.perf_counter()
        ends = began + seconds
        while (now := time.perf_counter()) < ends:
            tasks = [new_task() for _ in range(MAX_BATCH)]
            making += time.perf_counter() - now
            await queue.submit_many(tasks)
            done += MAX_BATCH
        spent = time.perf_counter() - began
        return done / spent, done / (spent - making)
    finally:
        await queue.close()


async def fill(url: str, count: int, make: Callable[[], NewTask] = new_task) -> list[str]:
    """Put so many tasks into a queue; returns their ids."""
    queue = TaskQueue(url)
    ids: list[str] = []
    try:
        while len(ids) < count:
            tasks = [make() for _ in range(min(MAX_BATCH, count - len(ids)))]
            await queue.submit_many(tasks)
            ids.extend(task.id for task in tasks)
    finally:
        await queue.close()
    return ids

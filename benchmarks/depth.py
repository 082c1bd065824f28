"""What does not depend on how much waits: memory a task, and the time of cancel and stats."""

from __future__ import annotations

import json
import time

from benchmarks.processes import Redis
from benchmarks.submitting import fill, new_task
from benchmarks.tasks import noop
from headrace.taskqueue import MAX_BATCH, NewTask, TaskQueue, new_id

SHALLOW = 10
MEMORY_TASKS = 100_000


async def bytes_per_task(redis: Redis, db: int, payload_bytes: int, count: int) -> float:
    """Redis's memory for a queued task whose payload has so many bytes."""
    redis.flush(db)
    queue = TaskQueue(redis.url(db))
    try:
        await queue.submit(new_task())  # what is there once: counters, the queue's own keys
        payload = payload_of(payload_bytes)
        before = redis.used_memory()
        for _ in range(count // MAX_BATCH):
            await queue.submit_many(
                [NewTask(type=noop.name, payload=payload, id=new_id()) for _ in range(MAX_BATCH)]
            )
        return (redis.used_memory() - before) / (count // MAX_BATCH * MAX_BATCH)
    finally:
        await queue.close()
        redis.flush(db)


def payload_of(size: int) -> bytes:
    """A JSON object of exactly so many bytes."""
    shell = json.dumps({"text": ""}, separators=(",", ":")).encode()
    return shell[:-2] + b"x" * (size - len(shell)) + shell[-2:]


async def cancel_and_stats(
    shallow_url: str, deep_url: str, deep: int, count: int
) -> dict[str, list[float]]:
    """Milliseconds of each call, at 10 and at `deep` queued tasks, in turn."""
    queues = {"shallow": TaskQueue(shallow_url), "deep": TaskQueue(deep_url)}
    ids = {"shallow": await fill(shallow_url, SHALLOW), "deep": await fill(deep_url, deep)}
    samples: dict[str, list[float]] = {}
    try:
        for _ in range(count):
            for depth, queue in queues.items():
                began = time.perf_counter()
                await queue.stats()
                samples.setdefault(f"stats_{depth}", []).append(_since(began))
        for number in range(count):
            for depth, queue in queues.items():
                at = number * len(ids[depth]) // count
                began = time.perf_counter()
                await queue.cancel(ids[depth][at])
                samples.setdefault(f"cancel_{depth}", []).append(_since(began))
                ids[depth][at] = await _submit_one(queue)
    finally:
        for queue in queues.values():
            await queue.close()
    return samples


async def _submit_one(queue: TaskQueue) -> str:
    task = new_task()
    await queue.submit(task)
    return task.id


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000

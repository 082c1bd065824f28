"""Damage in Redis: a worker's other tasks run, and what is damaged is named."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from headrace import NewTask, TaskStatus, new_id
from tests.integration.taskqueue.damage import INDEXES, RECORDS, key
from tests.integration.worker.conftest import Bench, Process, until

StartProcess = Callable[..., Process]

GOOD = 1_000


def nap() -> NewTask:
    return NewTask(type="nap", payload=b"0", id=new_id())


async def test_a_thousand_tasks_are_done_and_a_hundred_damaged_ones_named(
    bench: Bench, new_process: StartProcess
) -> None:
    raw: Any = bench.server.client
    tasks = [nap() for _ in range(GOOD)]
    damaged = {new_id(): kind for kind in RECORDS for _ in range(4)}
    assert len(damaged) > 100
    assert len(set(damaged.values())) > 20
    everything = [*tasks, *(NewTask(type="nap", payload=b"0", id=i) for i in damaged)]
    random.Random(0).shuffle(everything)
    for start in range(0, len(everything), 1000):
        await bench.queue.submit_many(everything[start : start + 1000])
    for task_id, kind in damaged.items():
        RECORDS[kind](raw, "nap", task_id)

    worker = new_process(QUEUES="nap", MAX_WORKERS="10")
    await until(lambda: _completed(bench, tasks), 60)

    def named() -> dict[str, str]:
        return {line["what"]: line["why"] for line in worker.lines("redis.damaged")}

    def unnamed() -> dict[str, str]:
        text = " ".join(named())
        return {task_id: kind for task_id, kind in damaged.items() if task_id not in text}

    with contextlib.suppress(TimeoutError):
        await until(lambda: not unnamed(), 10)
    assert unnamed() == {}
    # Each once.
    assert Counter(line["what"] for line in worker.lines("redis.damaged")).most_common(1)[0][1] == 1
    assert worker.lines("redis.lost") == []
    stats = await bench.queue.stats(["nap"])
    nothing_left = stats.queues["nap"]
    assert (nothing_left.queue_length, nothing_left.running, nothing_left.delayed) == (0, 0, 0)
    assert nothing_left.queue_length_retries == 0
    assert nothing_left.completions_total == GOOD
    assert stats.damaged_total == len(damaged)
    entries = raw.xrange(key("damaged"))
    assert {fields[b"what"].decode() for _, fields in entries} == named().keys()
    # It goes on.
    after = nap()
    await bench.queue.submit(after)
    assert (await bench.ended(after.id)).status is TaskStatus.COMPLETED
    assert worker.popen.poll() is None


async def _completed(bench: Bench, tasks: list[NewTask]) -> bool:
    records = await bench.queue.get_many([task.id for task in tasks])
    return all(record and record.status is TaskStatus.COMPLETED for record in records)


async def test_no_damage_to_what_tasks_share_costs_one(
    bench: Bench, new_process: StartProcess
) -> None:
    raw: Any = bench.server.client
    worker = new_process(QUEUES="nap", MAX_WORKERS="4")
    await worker.logged("worker.started")
    tasks: list[NewTask] = []
    for damage in INDEXES.values():
        tasks += (batch := [nap() for _ in range(10)])
        await bench.queue.submit_many(batch[:5])
        damage(raw, "nap")
        await bench.queue.submit_many(batch[5:])
        await bench.queue.stats(["nap"])
        await asyncio.sleep(0.02)
    await until(lambda: _completed(bench, tasks), 30)
    # These four are made again without a word, or nobody has looked at them here.
    named = len(INDEXES.keys() - {"damaged", "wake", "dead", "types"})
    await until(lambda: len({line["what"] for line in worker.lines("redis.damaged")}) >= named)
    left = (await bench.queue.stats(["nap"])).queues["nap"]
    assert (left.queue_length, left.running, left.queue_length_retries) == (0, 0, 0)
    assert len(await bench.registered()) == 1
    assert worker.popen.poll() is None

"""Random walks while Redis is damaged at random: what is not damaged is done, the rest is named."""

from __future__ import annotations

import contextlib
import os
import random

import pytest
from redis.exceptions import ResponseError

from headrace.taskqueue import (
    Completed,
    Consumer,
    Failed,
    Parked,
    Released,
    Settlement,
    Task,
    TaskNotFound,
    TaskStatus,
)
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.damage import INDEXES, RECORDS
from tests.integration.taskqueue.rig import TYPE, Rig, renew, settle
from tests.servers import RedisServer

IN_A_LIST = sorted(kind for kind in RECORDS if not kind.startswith(("a delayed", "a leased")))
"""An id without a record that stands in an index which is damaged as well has nobody to name it."""

SHARED = sorted(INDEXES.keys() - {"damaged", "leases", "cancelled"})
"""Without these three nobody can say what was named, who held what, and what was cancelled."""

WALKS = 200 if os.environ.get("HEADRACE_THOROUGH") == "1" else 12
STEPS = 60


@pytest.mark.parametrize("seed", range(WALKS))
async def test_what_is_not_damaged_is_done_and_what_is_damaged_is_named(
    server: RedisServer, new_rig: RigFactory, seed: int
) -> None:
    chance = random.Random(seed)
    rig = new_rig(server, lease_seconds=3600)
    worker = await rig.worker()
    good: set[str] = set()
    damaged: dict[str, str] = {}
    for _ in range(STEPS):
        match chance.randrange(6):
            case 0 | 1:
                good.update(await rig.submit_many(chance.randint(1, 5)))
            case 2:
                await work(rig, worker, chance)
            case 3:
                waiting = [i.decode() for i in rig.raw.lrange(rig.key(f"queue:{TYPE}"), 0, -1)]
                sound = [
                    i for i in sorted(good.intersection(waiting)) if rig.field(i, "s") == b"queued"
                ]
                if sound:
                    task_id = chance.choice(sound)
                    kind = chance.choice(IN_A_LIST)
                    RECORDS[kind](rig.raw, TYPE, task_id)
                    good.remove(task_id)
                    damaged[task_id] = kind
            case 4:
                damage = INDEXES[chance.choice(SHARED)]
                with contextlib.suppress(ResponseError):  # it is of the wrong type already
                    damage(rig.raw, TYPE)
            case _:
                await look(rig, chance, good, damaged)
    records: list[Task | None] = []
    for _ in range(200):
        claim = await worker.claim(10)
        await settle(worker, *(Completed(task, b"1", 1) for task in claim.tasks))
        records = await rig.queue.get_many(sorted(good))
        if all(record and record.status.final for record in records):
            break
    assert all(record and record.status.final for record in records)
    stats = await rig.stats()
    assert (stats.queue_length, stats.running) == (0, 0)
    entries = rig.raw.xrange(rig.key("damaged"))
    named = b" ".join(fields[b"what"] for _, fields in entries).decode(errors="replace")
    assert [kind for task_id, kind in damaged.items() if task_id not in named] == []


async def work(rig: Rig, worker: Consumer, chance: random.Random) -> None:
    """Claim some, and end each in some way."""
    claim = await worker.claim(chance.randint(1, 4))
    await renew(rig, worker, claim.tasks)
    settlements: list[Settlement] = []
    for task in claim.tasks:
        ways: list[Settlement] = [
            Completed(task, b"1", 1),
            Failed(task, "no", 0, 1),
            Parked(task, 1, b"s", 1),
            Released(task),
        ]
        settlements.append(chance.choice(ways))
    await settle(worker, *settlements)


async def look(rig: Rig, chance: random.Random, good: set[str], damaged: dict[str, str]) -> None:
    """Read, cancel or retry one, and read the stats."""
    await rig.queue.stats([TYPE])
    await rig.queue.dead_letters(TYPE)
    if not (good or damaged):
        return
    task_id = chance.choice(sorted(good | damaged.keys()))
    try:
        task = await rig.queue.get(task_id)
        if task_id in good and task.status is TaskStatus.QUEUED and chance.random() < 0.3:
            await rig.queue.cancel(task_id)
    except TaskNotFound:
        assert task_id in damaged

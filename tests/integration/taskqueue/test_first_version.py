"""Records of version 1, in every state, are read, moved on and ended by the scripts of today.

`written_by_0_2_0.json` holds all keys of an installation as the scripts of 0.2.0 (commit ae23187)
left them on a Redis 7.0: each with its type, its value and the seconds until it expires. Times are
moved by as much as has passed since then.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.taskqueue import (
    AttemptOutcome,
    Cancelled,
    ClaimedTask,
    Completed,
    Consumer,
    Failed,
    Settlement,
    TaskStatus,
    UpgradeInProgress,
    idempotent_id,
)
from tests.integration.taskqueue.rig import TYPE, Rig, new_task, settle, worker_info
from tests.keyspace import indexed

PENDING, QUEUED, RUNNING = TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RUNNING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

WRITTEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "written_by_0_2_0.json").read_text("utf-8")
)
TASKS: dict[str, str] = WRITTEN["tasks"]
LARGE = b'"' + b"x" * 100 + b'"'
SMALL = b'{"n":1}'
OLD_WORKER = "w-0.2.0"

STATES = {
    "completed": COMPLETED,
    "completed, large": COMPLETED,
    "failed": FAILED,
    "crashed for good": FAILED,
    "stopped": CANCELLED,
    "backing off": PENDING,
    "parked": PENDING,
    "running": RUNNING,
    "running, large, with all": RUNNING,
    "asked to stop": RUNNING,
    "running again": RUNNING,
    "delayed": PENDING,
    "handed back": QUEUED,
    "queued by key": QUEUED,
    "queued": QUEUED,
    "cancelled while queued": CANCELLED,
    "cancelled while delayed": CANCELLED,
}


def load(rig: Rig) -> None:
    """Put all keys where the scripts of 0.2.0 had them."""
    passed = int(time.time() * 1000) - WRITTEN["made_at_ms"]
    text = json.dumps(WRITTEN["keys"])
    text = re.sub(r"\b1\d{12}\b", lambda found: str(int(found[0]) + passed), text)
    pipe = rig.raw.pipeline()
    for key, (kind, value, seconds) in json.loads(text).items():
        match kind:
            case "string":
                pipe.set(key, value)
            case "hash":
                pipe.hset(key, mapping=value)
            case "list":
                pipe.rpush(key, *value)
            case "set":
                pipe.sadd(key, *value)
            case "zset":
                pipe.zadd(key, value)
        if seconds is not None:
            pipe.expire(key, seconds)
    pipe.execute()


@pytest.fixture
def old(any_rig: Rig) -> Rig:
    """An installation as 0.2.0 left it."""
    load(any_rig)
    return any_rig


async def run_all(rig: Rig, worker: Consumer) -> set[str]:
    """Make everything due, and let a worker complete whatever it is given; returns the ids."""
    done: set[str] = set()
    for index in ("delayed", "retries"):
        for task_id, _ in rig.raw.zscan_iter(rig.key(f"{index}:{TYPE}")):
            rig.raw.zadd(rig.key(f"{index}:{TYPE}"), {task_id: rig.now_ms() - 1})
    while tasks := (await worker.claim(100)).tasks:
        for task in tasks:
            assert await settle(worker, Completed(task, b"1", 1)) == [COMPLETED]
            done.add(task.id)
    return done


def held_by_the_old_worker(rig: Rig, name: str) -> ClaimedTask:
    """A running task, as its worker knows it."""
    r = {k.decode(): v.decode() for k, v in rig.raw.hgetall(rig.key(f"task:{TASKS[name]}")).items()}
    return ClaimedTask(
        id=TASKS[name],
        type=TYPE,
        payload=LARGE if "pl" in r else SMALL,
        fence=int(r["f"]),
        created_at_ms=int(r["c"]),
        started_at_ms=int(r["b"]),
        retry_count=int(r.get("rc", 0)),
        crash_count=0,
        max_retries=int(r.get("m", 3)),
    )


async def check_all_have_ended(rig: Rig) -> None:
    """Every task is final, in no index, a record of version 1 still; and nothing was set aside."""
    for task_id in TASKS.values():
        assert (await rig.status(task_id)).final
        assert rig.field(task_id, "v") == b"1"
    assert indexed(rig.server) == []
    figures = await rig.stats()
    assert (figures.queue_length, figures.running, figures.delayed) == (0, 0, 0)
    assert (await rig.queue.stats()).damaged_total == 0
    assert rig.raw.hget(rig.key("meta"), "version") == b"1"


async def test_records_in_every_state_are_read(old: Rig) -> None:
    records = {name: await old.queue.get(task_id) for name, task_id in TASKS.items()}
    assert {name: record.status for name, record in records.items()} == STATES
    assert {(record.headers == {}, record.tags) for record in records.values()} == {(True, ())}
    large = {name for name, record in records.items() if record.payload == LARGE}
    assert large == {
        *("completed, large", "failed", "backing off", "running, large, with all"),
        "queued by key",
    }
    assert {record.payload for record in records.values()} == {LARGE, SMALL}
    assert (records["completed"].result, records["completed, large"].result) == (b"1", LARGE)
    assert records["failed"].error == "ValueError: no"
    assert records["crashed for good"].crash_count == 4
    assert (records["backing off"].error, records["backing off"].retry_count) == (
        "ValueError: once",
        1,
    )
    everything = records["running, large, with all"]
    assert (everything.max_retries, everything.progress_percent) == (7, 40)
    assert everything.progress_message == "almost"
    assert records["asked to stop"].cancel_requested
    assert records["running"].worker == OLD_WORKER
    assert records["delayed"].due_at is not None

    figures = await old.stats()
    assert (figures.queue_length, figures.running, figures.delayed) == (3, 4, 3)
    assert (figures.arrivals_total, figures.completions_total) == (17, 2)
    assert (figures.failures_total, figures.retries_total, figures.crashes_total) == (2, 2, 4)
    [worker] = (await old.queue.stats()).workers
    assert (worker.id, worker.version, worker.busy_slots) == (OLD_WORKER, "0.2.0", 4)
    assert {task.id for task in await old.queue.dead_letters(TYPE)} == {
        TASKS["failed"],
        TASKS["crashed for good"],
    }
    assert await old.queue.attempts(TASKS["failed"]) == []
    assert (await old.queue.types())[TYPE].version == "1.0"


async def test_what_0_2_0_left_is_run_to_its_end_when_its_worker_is_lost(old: Rig) -> None:
    names = ["running", "running, large, with all", "asked to stop", "running again"]
    old.expire_lease(*(held_by_the_old_worker(old, name) for name in names))
    worker = await old.worker("new")
    done = await run_all(old, worker)
    waited = {name for name, status in STATES.items() if not status.final}
    assert done == {TASKS[name] for name in waited - {"asked to stop"}}
    assert await old.status(TASKS["asked to stop"]) is CANCELLED
    await check_all_have_ended(old)
    figures = await old.stats()
    assert (figures.completions_total, figures.crashes_total) == (2 + 9, 4 + 4)
    crashed, completed = await old.queue.attempts(TASKS["running"])
    assert (crashed.outcome, crashed.worker, crashed.worker_version) == (
        AttemptOutcome.CRASHED,
        OLD_WORKER,
        None,
    )
    assert (completed.number, completed.outcome) == (2, AttemptOutcome.COMPLETED)


async def test_what_0_2_0_left_is_settled_by_the_holder_of_its_leases(old: Rig) -> None:
    holder = old.queue.consumer(worker_info(OLD_WORKER))
    holder.epoch = old.raw.hget(old.key("meta"), "epoch").decode()
    settlements: list[Settlement] = [
        Completed(held_by_the_old_worker(old, "running"), b"1", 5),
        Failed(held_by_the_old_worker(old, "running, large, with all"), "E", None, 5),
        Cancelled(held_by_the_old_worker(old, "asked to stop"), 5),
        Completed(held_by_the_old_worker(old, "running again"), LARGE, 5),
    ]
    assert await settle(holder, *settlements) == [COMPLETED, FAILED, CANCELLED, COMPLETED]
    await holder.close()
    assert old.raw.exists(old.key(f"state:{TASKS['running, large, with all']}")) == 0
    again = await old.queue.get(TASKS["running again"])
    assert (again.result, again.error) == (LARGE, None)
    await run_all(old, await old.worker("new"))
    await check_all_have_ended(old)


async def test_what_0_2_0_left_is_cancelled_and_retried(old: Rig) -> None:
    for name in ("backing off", "parked", "delayed", "handed back", "queued by key", "queued"):
        assert await old.queue.cancel(TASKS[name]) is CANCELLED
    names = ["running", "running, large, with all", "running again"]
    for name in names:
        assert await old.queue.cancel(TASKS[name], running=True) is RUNNING
    old.expire_lease(*(held_by_the_old_worker(old, name) for name in [*names, "asked to stop"]))
    await old.queue.reap([TYPE])
    await check_all_have_ended(old)

    retried = [name for name, status in STATES.items() if status is not COMPLETED]
    for name in retried:
        assert await old.queue.retry(TASKS[name]) is QUEUED
    assert await old.length() == len(retried)
    done = await run_all(old, await old.worker("new"))
    assert done == {TASKS[name] for name in retried}
    await check_all_have_ended(old)


async def test_a_key_of_0_2_0_still_stands_for_its_task(old: Rig) -> None:
    same = new_task(LARGE, task_id=idempotent_id(TYPE, "key"), max_retries=5)
    submitted = await old.queue.submit(same)
    assert (submitted.id, submitted.created) == (TASKS["queued by key"], False)


async def test_its_worker_keeps_tasks_out_that_it_could_not_read(old: Rig) -> None:
    tagged = new_task(tags=("nightly",))
    with pytest.raises(UpgradeInProgress):
        await old.queue.submit(tagged)
    await old.submit()

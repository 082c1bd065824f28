"""Ended tasks expire with all that belongs to them; live ones never do."""

from __future__ import annotations

import pytest

from headrace.taskqueue import Completed, Failed, Parked, Task, TaskNotFound, new_id
from headrace.taskqueue.task import TaskStatus, utc
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, renew, settle, until
from tests.keyspace import PARTS, indexed, keys, unexpected_keys
from tests.servers import RedisServer

LARGE = b'"' + b"x" * 100 + b'"'
RETENTION = 100
ATTEMPTS_KEPT = (7 + 30) * 24 * 3600
"""While their task lives: the retention and a month."""


def lifetimes(rig: Rig, task_id: str) -> dict[str, int]:
    """Seconds until each key of a task expires; -1: never."""
    found = rig.raw.keys(rig.key(f"*:{task_id}"))
    return {key.decode().split(":")[1]: rig.raw.ttl(key) for key in found}


async def test_live_tasks_never_expire(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    [running, parked, retried] = [await any_rig.submit(LARGE) for _ in range(3)]
    tasks = (await worker.claim(3)).tasks
    await worker.checkpoint(tasks[0], LARGE, [LARGE])
    await settle(
        worker,
        Parked(tasks[1], any_rig.now_ms() + 60_000, LARGE, 1, entries=[LARGE]),
        Failed(tasks[2], "no", 60_000, 1),
    )
    queued = await any_rig.submit(LARGE)
    delayed = await any_rig.submit(LARGE, delay_seconds=60)
    for task_id in (queued, delayed):
        assert lifetimes(any_rig, task_id) == {"task": -1, "payload": -1}
    # What is kept of attempts may be left behind by a worker of 0.2.0, so it has an end.
    live = {"task": -1, "payload": -1, "attempts": ATTEMPTS_KEPT}
    assert lifetimes(any_rig, retried) == pytest.approx(live, abs=1)
    for task_id in (running, parked):
        live = {"task": -1, "payload": -1, "state": -1, "journal": -1}
        assert lifetimes(any_rig, task_id) == live
    assert unexpected_keys(any_rig.server) == []


async def test_whatever_way_a_task_ends_all_of_it_expires(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server, retention_seconds=RETENTION)
    worker = await rig.worker()

    async def begun() -> tuple[str, Completed]:
        task_id = await rig.submit(LARGE, max_retries=0)
        task = await claim_one(worker)
        await worker.checkpoint(task, LARGE, [LARGE])
        return task_id, Completed(task, LARGE, 1)

    expected = {"task": RETENTION, "payload": RETENTION}
    done, settlement = await begun()
    await settle(worker, settlement)
    assert lifetimes(rig, done) == pytest.approx({**expected, "result": RETENTION}, abs=1)
    failed, settlement = await begun()
    await settle(worker, Failed(settlement.task, "no", 0, 1))
    lost, settlement = await begun()
    rig.raw.hset(rig.key(f"task:{lost}"), "cc", 3)
    rig.expire_lease(settlement.task)
    await rig.queue.reap([TYPE])
    stopped, settlement = await begun()
    await rig.queue.cancel(stopped, running=True)
    await settle(worker, Failed(settlement.task, "stopped", 0, 1))
    asked, settlement = await begun()
    await rig.queue.cancel(asked, running=True)
    rig.expire_lease(settlement.task)
    await rig.queue.reap([TYPE])
    waiting = await rig.submit(LARGE)
    await rig.queue.cancel(waiting)
    delayed = await rig.submit(LARGE, delay_seconds=60)
    await rig.queue.cancel(delayed)
    parked, settlement = await begun()
    await settle(worker, Parked(settlement.task, rig.now_ms() + 60_000, LARGE, 1))
    await rig.queue.cancel(parked)
    for task_id in (waiting, delayed, parked):
        assert lifetimes(rig, task_id) == pytest.approx(expected, abs=1)
    attempted = {**expected, "attempts": RETENTION}
    for task_id in (failed, lost, stopped, asked):
        assert lifetimes(rig, task_id) == pytest.approx(attempted, abs=1)
    inline = Task(
        id=new_id(),
        type=TYPE,
        status=TaskStatus.COMPLETED,
        created_at=utc(1_760_000_000_000),
        payload=LARGE,
        result=LARGE,
    )
    await rig.queue.store_final(inline)
    assert lifetimes(rig, inline.id) == pytest.approx({**expected, "result": RETENTION}, abs=1)
    await renew(rig, worker)
    assert indexed(any_server) == []
    assert unexpected_keys(any_server, retention_seconds=RETENTION) == []


async def test_a_task_retried_by_hand_expires_no_more_and_has_no_old_result(rig: Rig) -> None:
    task_id = await rig.submit(LARGE)
    worker = await rig.worker()
    task = await claim_one(worker)
    await rig.queue.cancel(task_id, running=True)
    await settle(worker, Completed(task, LARGE, 1))
    assert (await rig.queue.get(task_id)).result == LARGE
    await rig.queue.retry(task_id)
    live = {"task": -1, "payload": -1, "attempts": ATTEMPTS_KEPT}
    assert lifetimes(rig, task_id) == pytest.approx(live, abs=1)
    record = await rig.queue.get(task_id)
    assert (record.payload, record.result, record.cancel_requested) == (LARGE, None, False)


async def test_after_the_retention_nothing_of_a_task_is_left(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, retention_seconds=1)
    worker = await rig.worker()
    task_id = await rig.submit(LARGE)
    task = await claim_one(worker)
    await worker.checkpoint(task, LARGE, [LARGE])
    await settle(worker, Completed(task, LARGE, 1))
    await rig.submit(LARGE, max_retries=0)
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))

    async def left() -> list[str]:
        found = keys(server)
        return [key for kind in ("task", "dead", *PARTS) for key in found[kind]]

    await until(left, lambda seen: seen == [])
    with pytest.raises(TaskNotFound, match="its retention is over"):
        await rig.queue.get(task_id)
    assert await rig.queue.dead_letters(TYPE) == []


async def test_a_workers_keys_expire_when_it_is_silent_for_long(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    await any_rig.submit()
    task = await claim_one(worker)
    await renew(any_rig, worker, [task])
    await any_rig.queue.drain("w1")
    await any_rig.queue.cancel(task.id, running=True)
    for name, seconds in (("worker", 3600), ("held", 3600), ("drain", 60), ("signal", 60)):
        assert any_rig.raw.ttl(any_rig.key(f"{name}:w1")) == pytest.approx(seconds, abs=2)


async def test_a_small_task_is_one_compact_key(rig: Rig) -> None:
    task_id = await rig.submit(b"1" * 64)
    assert rig.raw.object("encoding", rig.key(f"task:{task_id}")) in (b"listpack", b"ziplist")
    assert lifetimes(rig, task_id) == {"task": -1}
    large = await rig.submit(b"1" * 65)
    assert rig.raw.object("encoding", rig.key(f"task:{large}")) in (b"listpack", b"ziplist")
    assert lifetimes(rig, large) == {"task": -1, "payload": -1}


async def test_the_search_for_unexpected_keys_finds_them(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server)
    live, dead = sorted((new_id(), new_id()))
    await rig.submit(LARGE, task_id=live)
    await rig.submit(LARGE, task_id=dead)
    await rig.queue.cancel(dead)
    assert unexpected_keys(server) == []
    assert indexed(server) == [f"queue:{TYPE}"]
    rig.raw.expire(rig.key(f"task:{live}"), 10)
    rig.raw.expire(rig.key(f"payload:{live}"), 10)
    rig.raw.persist(rig.key(f"payload:{dead}"))
    rig.raw.set(rig.key(f"result:{live}"), "")
    rig.raw.set(rig.key("state:nobody"), "")
    rig.raw.set(rig.key("never"), "")
    rig.raw.persist(rig.key(f"rates:{TYPE}:{rig.now_ms() // 60_000}"))
    assert unexpected_keys(server) == [
        "never: not of the layout",
        f"payload:{live}: expires",
        f"payload:{dead}: never expires",
        f"rates:{TYPE}:{rig.now_ms() // 60_000}: never expires",
        f"result:{live}: its task's record does not name it",
        f"result:{live}: the task is queued",
        "state:nobody: its task has no record",
        f"task:{live}: expires",
    ]

"""Data of a newer Headrace: refused with a sentence, and nothing of it is lost."""

from __future__ import annotations

import pytest

from headrace.taskqueue import Completed, LayoutTooNew, ServerUnsuitable, TaskStatus
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, ids
from tests.servers import RedisServer


def make_newer(rig: Rig, task_id: str) -> None:
    rig.raw.hset(rig.key(f"task:{task_id}"), "v", 3)


async def test_a_newer_layout_is_refused_at_the_start(any_rig: Rig) -> None:
    await any_rig.queue.connect()
    await any_rig.submit()
    await any_rig.queue.connect()
    any_rig.raw.hset(any_rig.key("meta"), "version", 2)
    with pytest.raises(LayoutTooNew, match="layout version 2, this Headrace reads up to 1"):
        await any_rig.worker()
    with pytest.raises(LayoutTooNew, match="upgrade this process"):
        await any_rig.queue.connect()
    assert any_rig.raw.keys(any_rig.key("worker:*")) == []


async def test_a_newer_record_is_refused_and_stays_the_next(any_rig: Rig) -> None:
    submitted = await any_rig.submit_many(3)
    make_newer(any_rig, submitted[0])
    worker = await any_rig.worker()
    for _ in range(2):
        with pytest.raises(LayoutTooNew, match="version 3, this Headrace reads up to 2"):
            await worker.claim(10)
        with pytest.raises(LayoutTooNew):
            await worker.wait_and_claim(10, 0.01)
        with pytest.raises(LayoutTooNew):
            await any_rig.queue.get(submitted[0])
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running) == (3, 0)

    any_rig.raw.hset(any_rig.key(f"task:{submitted[0]}"), "v", 1)
    assert ids(await worker.claim(10)) == submitted


async def test_what_lies_before_a_newer_record_is_claimed(any_rig: Rig) -> None:
    submitted = await any_rig.submit_many(5)
    cancelled, first, newer, *_ = submitted
    await any_rig.queue.cancel(cancelled)
    make_newer(any_rig, newer)
    worker = await any_rig.worker()
    claim = await worker.claim(10)
    assert (ids(claim), claim.more) == ([first], True)
    assert await complete(worker, claim.tasks[0]) is TaskStatus.COMPLETED
    with pytest.raises(LayoutTooNew):
        await worker.claim(10)
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running) == (3, 0)
    order = [i.decode() for i in any_rig.raw.lrange(any_rig.key(f"queue:{TYPE}"), 0, -1)]
    assert order == submitted[2:]


async def test_what_was_reported_beside_a_refused_claim_is_settled(rig: Rig) -> None:
    [first, newer] = await rig.submit_many(2)
    make_newer(rig, newer)
    worker = await rig.worker()
    task = await claim_one(worker)
    with pytest.raises(LayoutTooNew):
        await worker.settle([Completed(task, b"1", 1)], claim_limit=1)
    assert await rig.status(first) is TaskStatus.COMPLETED
    assert await complete(worker, task) is TaskStatus.COMPLETED


async def test_a_setting_that_the_server_cannot_follow_is_refused_at_the_start(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server, wait_fsync=True)
    if any_server.kind == "valkey-9":
        await rig.queue.connect()
    else:
        with pytest.raises(ServerUnsuitable, match=r"needs Redis 7.2"):
            await rig.queue.connect()


async def test_a_newer_layout_is_left_alone_by_every_call(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    [task_id] = await any_rig.submit_many(1)
    any_rig.raw.hset(any_rig.key("meta"), "version", 2)
    before = sorted(any_rig.raw.keys("*"))
    with pytest.raises(LayoutTooNew):
        await any_rig.submit()
    with pytest.raises(LayoutTooNew):
        await any_rig.queue.cancel(task_id)
    with pytest.raises(LayoutTooNew):
        await any_rig.stats()
    with pytest.raises(LayoutTooNew):
        await worker.claim(1)
    assert sorted(any_rig.raw.keys("*")) == before

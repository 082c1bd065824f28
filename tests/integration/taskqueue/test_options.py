"""Headers and tags: a record of version 2, for those tasks alone that have some."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from headrace.taskqueue import (
    Consumer,
    Failed,
    NewTask,
    QueueFull,
    Released,
    TaskStatus,
    UpgradeInProgress,
    idempotent_id,
    new_id,
)
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import (
    TYPE,
    Rig,
    claim_one,
    complete,
    new_task,
    settle,
)
from tests.servers import RedisServer

HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant": "水"}
TAGS = ("nightly", "customer:7")


def tagged(
    *, task_id: str | None = None, options_needed: bool = True, tags: Sequence[str] = TAGS
) -> NewTask:
    """A task with headers and tags."""
    return NewTask(
        type=TYPE,
        payload=b"{}",
        id=task_id or new_id(),
        headers=HEADERS,
        tags=tuple(tags),
        options_needed=options_needed,
    )


async def old_worker(rig: Rig, worker_id: str = "old") -> Consumer:
    """A worker as 0.2.0 registers: nothing says which versions it reads."""
    worker = await rig.worker(worker_id)
    rig.raw.hdel(rig.key(f"worker:{worker_id}"), "reads")
    forget_answer(rig)
    return worker


def forget_answer(rig: Rig) -> None:
    """As if a second had passed since it was looked whether an old worker lives."""
    rig.raw.hdel(rig.key("meta"), "old_worker")


def version(rig: Rig, task_id: str) -> bytes | None:
    return rig.field(task_id, "v")


async def test_headers_and_tags_reach_the_worker_and_whoever_looks(any_rig: Rig) -> None:
    submitted = await any_rig.queue.submit(tagged())
    record = await any_rig.queue.get(submitted.id)
    assert (record.headers, record.tags) == (HEADERS, TAGS)
    assert version(any_rig, submitted.id) == b"2"

    worker = await any_rig.worker()
    task = await claim_one(worker)
    assert (task.headers, task.tags, task.attempt, task.state) == (HEADERS, TAGS, 1, None)
    await settle(worker, Failed(task, "once more", 60_000, 1))
    any_rig.make_due(task.id)
    again = await claim_one(worker)
    assert (again.headers, again.tags, again.attempt) == (HEADERS, TAGS, 2)
    await settle(worker, Released(again))
    assert await complete(worker, await claim_one(worker)) is TaskStatus.COMPLETED
    record = await any_rig.queue.get(submitted.id)
    assert (record.headers, record.tags, record.result) == (HEADERS, TAGS, b"null")


async def test_a_task_without_them_is_of_version_1_and_has_no_more_fields_than_before(
    rig: Rig,
) -> None:
    task_id = await rig.submit()
    fields = rig.raw.hgetall(rig.key(f"task:{task_id}"))
    assert {name.decode() for name in fields} == {"s", "v", "t", "c", "p"}
    assert fields[b"v"] == b"1"
    task = await claim_one(await rig.worker())
    assert (task.headers, task.tags) == ({}, ())
    assert rig.raw.hget(rig.key("meta"), "version") == b"1"


async def test_a_task_with_them_leaves_the_layout_at_version_1(rig: Rig) -> None:
    await rig.queue.submit(tagged())
    assert rig.raw.hget(rig.key("meta"), "version") == b"1"


async def test_every_rule_of_a_task_travels_with_its_options(rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "all")
    task = NewTask(
        type=TYPE,
        payload=b"{}",
        id=task_id,
        tags=TAGS,
        max_retries=7,
        start_at=new_task(delay_seconds=60).start_at,
    )
    assert (await rig.queue.submit(task)).status is TaskStatus.PENDING
    assert (await rig.queue.submit(task)).created is False
    record = await rig.queue.get(task_id)
    assert (record.max_retries, record.tags, record.due_at is None) == (7, TAGS, False)


async def test_an_old_worker_that_lives_keeps_such_tasks_out(any_rig: Rig) -> None:
    await any_rig.worker("new")
    worker = await old_worker(any_rig)
    with pytest.raises(UpgradeInProgress, match="try again once all workers are upgraded"):
        await any_rig.queue.submit(tagged())
    with pytest.raises(UpgradeInProgress):
        await any_rig.queue.submit_many([new_task(), tagged()])
    assert await any_rig.length() == 0
    # Whatever has no options goes on.
    await any_rig.submit()

    await worker.deregister()
    forget_answer(any_rig)
    assert (await any_rig.queue.submit(tagged())).created


async def test_an_old_worker_that_is_silent_keeps_nothing_out(rig: Rig) -> None:
    await old_worker(rig)
    rig.raw.zadd(rig.key("workers"), {"old": rig.now_ms() - 31_000})
    assert (await rig.queue.submit(tagged())).created


async def test_options_that_are_not_needed_leave_the_record_at_version_1(rig: Rig) -> None:
    """Whoever reads version 1 takes it for one without options: see test_two_releases.py."""
    worker = await old_worker(rig)
    submitted = await rig.queue.submit(tagged(options_needed=False))
    assert int(version(rig, submitted.id) or 0) == 1
    assert (await rig.queue.get(submitted.id)).tags == TAGS
    task = await claim_one(worker)
    assert (task.headers, task.tags) == (HEADERS, TAGS)
    await settle(worker, Failed(task, "no", None, 1))
    assert await rig.queue.retry(task.id) is TaskStatus.QUEUED


async def test_a_task_that_is_there_already_is_found_during_an_upgrade(rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-7")
    await rig.queue.submit(tagged(task_id=task_id))
    await old_worker(rig)
    assert (await rig.queue.submit(tagged(task_id=task_id))).created is False
    # Headers differ from call to call, and say nothing of what is asked for.
    again = await rig.queue.submit(tagged(task_id=task_id, tags=["other"]))
    assert again.created is False


async def test_no_old_worker_is_given_such_a_task_by_a_retry(rig: Rig) -> None:
    submitted = await rig.queue.submit(tagged())
    await rig.queue.cancel(submitted.id)
    worker = await old_worker(rig)
    with pytest.raises(UpgradeInProgress):
        await rig.queue.retry(submitted.id)
    assert await rig.status(submitted.id) is TaskStatus.CANCELLED
    await worker.deregister()
    forget_answer(rig)
    assert await rig.queue.retry(submitted.id) is TaskStatus.QUEUED


async def test_the_workers_are_not_looked_through_for_every_task(rig: Rig) -> None:
    for n in range(20):
        await rig.worker(f"w{n}")
    await rig.queue.submit(tagged())
    rig.raw.config_resetstat()
    for _ in range(10):
        await rig.queue.submit(tagged())
    calls = rig.raw.info("commandstats")
    assert "cmdstat_zrangebyscore" not in calls
    assert "cmdstat_hmget" not in calls or calls["cmdstat_hmget"]["calls"] == 10  # meta's


async def test_a_full_queue_is_named_before_an_upgrade(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, max_length=1)
    await rig.submit()
    with pytest.raises(QueueFull):
        await rig.queue.submit(tagged())


async def test_a_loss_of_data_leaves_them_with_the_task(rig: Rig) -> None:
    await rig.queue.submit(tagged())
    worker = await rig.worker()
    task = await claim_one(worker)
    rig.server.flush()
    assert await worker.restore([task]) == [True]
    record = await rig.queue.get(task.id)
    assert (record.headers, record.tags) == (HEADERS, TAGS)
    assert version(rig, task.id) == b"2"


async def test_a_run_outside_the_queue_keeps_them_too(rig: Rig) -> None:
    submitted = await rig.queue.submit(tagged())
    worker = await rig.worker()
    await complete(worker, await claim_one(worker))
    record = msgspec.structs.replace(await rig.queue.get(submitted.id), worker=None)
    rig.server.flush()
    assert await rig.queue.store_final(record)
    assert await rig.queue.get(submitted.id) == record
    assert int(version(rig, submitted.id) or 0) == 1

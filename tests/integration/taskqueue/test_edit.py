"""A task is changed before it begins, run before its time, or deleted when it has ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from headrace.taskqueue import (
    Failed,
    NotAllowed,
    Parked,
    TaskFilter,
    TaskInvalid,
    TaskNotFound,
    TaskStatus,
    new_id,
)
from tests.integration.taskqueue.rig import Rig, claim_one, complete, ids, settle

if TYPE_CHECKING:
    from tests.integration.taskqueue.conftest import RigFactory

HOUR = timedelta(hours=1)


async def test_a_pending_task_gets_another_start_time(rig: Rig) -> None:
    task_id = await rig.submit(delay_seconds=60)
    later = datetime.now(UTC).replace(microsecond=0) + HOUR
    assert await rig.queue.edit(task_id, start_at=later) is TaskStatus.PENDING
    assert (await rig.queue.get(task_id)).due_at == later
    assert await rig.queue.edit(task_id, start_at=datetime.now(UTC)) is TaskStatus.QUEUED
    worker = await rig.worker()
    assert (await claim_one(worker)).id == task_id


async def test_a_queued_task_is_put_off_however_long_its_queue_is(any_rig: Rig) -> None:
    rig = any_rig
    first, put_off, last = await rig.submit_many(3)
    assert await rig.queue.edit(put_off, start_at=datetime.now(UTC) + HOUR) is TaskStatus.PENDING
    assert await rig.length() == 2
    worker = await rig.worker()
    assert ids(await worker.claim(10)) == [first, last]
    rig.make_due(put_off)
    assert ids(await worker.claim(10)) == [put_off]
    assert await rig.length() == 0


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_what_was_put_off_and_is_back_before_its_old_place_runs_once(
    rig: Rig, times: int
) -> None:
    put_off, other = await rig.submit_many(2)
    for _ in range(times):
        await rig.queue.edit(put_off, start_at=datetime.now(UTC) + HOUR)
        await rig.queue.run_now(put_off)
    assert await rig.length() == 2
    worker = await rig.worker()
    assert ids(await worker.claim(10)) == [put_off, other]
    assert await rig.length() == 0
    await rig.submit()
    assert await rig.length() == 1
    assert not rig.raw.exists(rig.key("damaged"))


async def test_what_was_put_off_can_be_cancelled_and_retried(rig: Rig) -> None:
    put_off, other = await rig.submit_many(2)
    await rig.queue.edit(put_off, start_at=datetime.now(UTC) + HOUR)
    await rig.queue.run_now(put_off)
    await rig.queue.cancel(put_off)
    assert await rig.length() == 1
    await rig.queue.retry(put_off)
    assert await rig.length() == 2
    worker = await rig.worker()
    assert sorted(ids(await worker.claim(10))) == sorted([put_off, other])
    await rig.submit()
    assert await rig.length() == 1


async def test_tags_and_retries_change_and_headers_stay(rig: Rig) -> None:
    task_id = await rig.submit(headers={"tenant": "acme"}, tags=("old",), max_retries=3)
    assert await rig.queue.edit(task_id, tags=["new", "red"], max_retries=7) is TaskStatus.QUEUED
    task = await rig.queue.get(task_id)
    assert (task.tags, task.headers, task.max_retries) == (
        ("new", "red"),
        {"tenant": "acme"},
        7,
    )
    found = await rig.queue.find_ids(TaskFilter(tag="red"))
    assert found.ids == [task_id]
    await rig.queue.edit(task_id, tags=[])
    task = await rig.queue.get(task_id)
    assert (task.tags, task.headers) == ((), {"tenant": "acme"})
    worker = await rig.worker()
    assert (await claim_one(worker)).headers == {"tenant": "acme"}


async def test_a_task_without_options_gets_tags(rig: Rig) -> None:
    task_id = await rig.submit()
    await rig.queue.edit(task_id, tags=["red"])
    worker = await rig.worker()
    assert (await claim_one(worker)).tags == ("red",)


async def test_what_no_task_may_have_is_refused(rig: Rig) -> None:
    task_id = await rig.submit(headers={"a": "x" * 4000})
    with pytest.raises(TaskInvalid):
        await rig.queue.edit(task_id, max_retries=101)
    with pytest.raises(TaskInvalid):
        await rig.queue.edit(task_id, tags=["two words"])
    with pytest.raises(TaskInvalid, match="fewer or shorter"):
        await rig.queue.edit(task_id, tags=["x" * 60, "y" * 60])


async def test_only_what_has_not_begun_is_changed(rig: Rig) -> None:
    with pytest.raises(TaskNotFound):
        await rig.queue.edit(new_id(), max_retries=1)
    await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    with pytest.raises(NotAllowed, match="only pending and queued"):
        await rig.queue.edit(task.id, max_retries=1)
    await settle(worker, Parked(task, rig.now_ms() + 60_000, b"state", 1))
    with pytest.raises(NotAllowed, match="not the start time"):
        await rig.queue.edit(task.id, start_at=datetime.now(UTC))
    await rig.queue.edit(task.id, max_retries=1)


async def test_a_retry_is_run_before_its_back_off_is_over(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "no", 60_000, 1))
    [pending] = (await rig.queue.list_tasks()).tasks
    assert await rig.queue.run_now(pending.id) is TaskStatus.QUEUED
    assert (await rig.stats()).queue_length_retries == 1
    assert (await claim_one(worker)).retry_count == 1


async def test_nothing_is_left_of_a_deleted_task(rig: Rig, new_rig: RigFactory) -> None:
    payload = b'"' + b"x" * 100 + b'"'
    ended = [await rig.submit(payload) for _ in range(2)]
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "no", None, 1))
    await complete(worker, await claim_one(worker), payload)
    tombstone = await rig.submit(payload)
    await rig.queue.cancel(tombstone)
    for task_id in (*ended, tombstone):
        await rig.queue.delete(task_id)
        assert rig.raw.keys(rig.key(f"*{task_id}*")) == []
        with pytest.raises(TaskNotFound):
            await rig.queue.delete(task_id)
    assert (await rig.queue.list_tasks()).tasks == []
    assert await rig.queue.dead_letters("report") == []
    assert await rig.length() == 0
    assert (await worker.claim(1)).tasks == []
    await rig.submit()
    assert await rig.length() == 1

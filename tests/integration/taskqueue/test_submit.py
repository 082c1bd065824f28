"""Submitting: idempotency, limits, batches, delays."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from headrace.taskqueue import (
    Completed,
    Failed,
    IdempotencyConflict,
    NewTask,
    PayloadTooLarge,
    QueueFull,
    Released,
    Submitted,
    TaskNotFound,
    TaskStatus,
    idempotent_id,
    new_id,
)
from headrace.taskqueue.task import utc
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, ids, new_task
from tests.servers import RedisServer

QUEUED, PENDING = TaskStatus.QUEUED, TaskStatus.PENDING


async def test_a_submitted_task_is_claimed_and_keeps_its_result(any_rig: Rig) -> None:
    payload = '{"name": "水渠", "list": []}'.encode()
    before = any_rig.now_ms()
    submitted = await any_rig.queue.submit(new_task(payload, max_retries=7))
    worker = await any_rig.worker()
    claim = await worker.claim(10)
    [task] = claim.tasks

    assert submitted == Submitted(task.id, QUEUED, True)
    assert (task.type, task.payload, task.fence, task.attempt) == (TYPE, payload, 1, 1)
    assert (task.retry_count, task.crash_count, task.max_retries) == (0, 0, 7)
    assert before <= task.created_at_ms <= task.started_at_ms <= any_rig.now_ms()
    assert (claim.more, claim.draining) == (False, False)

    assert await complete(worker, task, '["完成"]'.encode()) is TaskStatus.COMPLETED
    record = await any_rig.queue.get(task.id)
    assert (record.status, record.payload, record.worker) == (TaskStatus.COMPLETED, payload, "w1")
    assert record.result == '["完成"]'.encode()
    assert record.created_at == utc(task.created_at_ms)
    assert record.started_at == utc(task.started_at_ms)
    assert record.completed_at is not None
    assert record.completed_at >= record.started_at


@pytest.mark.parametrize("document", [b"[]", b"12345678901234567", b'{"a":[],"n":1e400}', b"{}"])
@pytest.mark.parametrize("padding", [0, 64, 5000])
async def test_documents_pass_through_byte_for_byte(
    rig: Rig, document: bytes, padding: int
) -> None:
    document += b" " * padding
    task_id = await rig.submit(document)
    worker = await rig.worker()
    task = await claim_one(worker)
    await complete(worker, task, document)
    record = await rig.queue.get(task_id)

    assert task.payload == document
    assert (record.payload, record.result) == (document, document)


async def test_tasks_leave_in_the_order_in_which_they_came(rig: Rig) -> None:
    submitted = await rig.submit_many(5)
    worker = await rig.worker()
    assert ids(await worker.claim(3)) == submitted[:3]
    assert ids(await worker.claim(3)) == submitted[3:]


async def test_the_same_idempotency_key_makes_one_task(any_rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-1")
    first = await any_rig.queue.submit(new_task(b"1", task_id=task_id))
    again = await any_rig.queue.submit(new_task(b"1", task_id=task_id))

    assert (first.created, again) == (True, Submitted(task_id, QUEUED, False))
    worker = await any_rig.worker()
    assert ids(await worker.claim(10)) == [task_id]
    running = await any_rig.queue.submit(new_task(b"1", task_id=task_id))
    assert running == Submitted(task_id, TaskStatus.RUNNING, False)
    assert (await any_rig.stats()).arrivals_total == 1


async def test_an_ended_tasks_key_brings_its_status_back_and_runs_nothing(rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-2")
    await rig.submit(b"1", task_id=task_id)
    worker = await rig.worker()
    await complete(worker, await claim_one(worker))

    again = await rig.queue.submit(new_task(b"1", task_id=task_id))
    assert again == Submitted(task_id, TaskStatus.COMPLETED, False)
    assert (await worker.claim(10)).tasks == []


async def test_an_idempotency_key_with_another_payload_is_a_conflict(any_rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-3")
    await any_rig.submit(b"1", task_id=task_id)
    with pytest.raises(IdempotencyConflict) as caught:
        await any_rig.queue.submit(new_task(b"2", task_id=task_id))

    assert caught.value.task_id == task_id
    assert (await any_rig.queue.get(task_id)).payload == b"1"
    assert await any_rig.length() == 1


async def test_an_idempotency_key_for_another_time_or_number_of_retries_is_a_conflict(
    rig: Rig,
) -> None:
    start = utc(rig.now_ms() + 3_600_000)

    def task(key: str, start_at: datetime | None, max_retries: int = 3) -> NewTask:
        return NewTask(
            type=TYPE,
            payload=b"1",
            id=idempotent_id(TYPE, key),
            max_retries=max_retries,
            start_at=start_at,
        )

    await rig.queue.submit_many([task("at once", None), task("later", start)])
    assert not (await rig.queue.submit(task("at once", None))).created
    assert not (await rig.queue.submit(task("later", start))).created
    others = [
        task("at once", start),
        task("at once", None, 4),
        task("later", None),
        task("later", start + timedelta(seconds=1)),
        task("later", start, 4),
    ]
    for other in others:
        with pytest.raises(IdempotencyConflict):
            await rig.queue.submit(other)


def test_idempotency_keys_of_different_types_are_different_tasks() -> None:
    assert idempotent_id("a", "key") != idempotent_id("b", "key")
    assert idempotent_id("a", "key") == idempotent_id("a", "key")


async def test_a_conflict_in_a_batch_names_its_task_and_refuses_all(rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-4")
    await rig.submit(b"1", task_id=task_id)
    fresh = new_task()
    with pytest.raises(IdempotencyConflict) as caught:
        await rig.queue.submit_many([fresh, new_task(b"2", task_id=task_id)])

    assert caught.value.task_id == task_id
    with pytest.raises(TaskNotFound):
        await rig.queue.get(fresh.id)
    assert await rig.length() == 1


async def test_the_same_task_twice_in_one_batch_is_one_task(any_rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-5")
    twice = [new_task(b"1", task_id=task_id), new_task(b"1", task_id=task_id)]
    first, second = await any_rig.queue.submit_many(twice)

    assert (first.created, second) == (True, Submitted(task_id, QUEUED, False))
    assert await any_rig.length() == 1
    later = [new_task(task_id=new_id(), delay_seconds=60)] * 2
    assert [s.created for s in await any_rig.queue.submit_many(later)] == [True, False]
    assert (await any_rig.stats()).arrivals_total == 2
    other = idempotent_id(TYPE, "order-6")
    with pytest.raises(IdempotencyConflict):
        await any_rig.queue.submit_many(
            [new_task(b"1", task_id=other), new_task(b"2", task_id=other)]
        )
    assert await any_rig.length() == 1


async def test_a_full_queue_refuses_and_writes_nothing(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server, max_length=3)
    await rig.submit_many(2)
    before = any_server.client.dbsize()
    with pytest.raises(QueueFull, match=r"'report' holds its maximum of 3.*QUEUE_MAX_LENGTH"):
        await rig.queue.submit_many([new_task(b"1" * 100), new_task(b"1" * 100)])

    assert any_server.client.dbsize() == before
    assert await rig.length() == 2
    await rig.submit()
    with pytest.raises(QueueFull):
        await rig.submit()
    await rig.submit(task_type="other")


async def test_the_maximum_counts_delayed_tasks_and_not_cancelled_ones(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, max_length=2)
    await rig.submit(delay_seconds=60)
    waiting = await rig.submit()
    with pytest.raises(QueueFull):
        await rig.submit()
    await rig.queue.cancel(waiting)
    await rig.submit()
    with pytest.raises(QueueFull):
        await rig.queue.retry(waiting)


async def test_a_retry_into_a_queue_of_cancelled_tasks_is_not_refused(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, max_length=2)
    for task_id in await rig.submit_many(2):
        await rig.queue.cancel(task_id)
    [cancelled, _] = await rig.submit_many(2)
    await rig.queue.cancel(cancelled)
    assert await rig.queue.retry(cancelled) is QUEUED


async def test_a_full_queue_in_a_batch_is_the_one_that_is_named(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, max_length=1)
    await rig.submit(task_type="second")
    with pytest.raises(QueueFull) as caught:
        await rig.queue.submit_many([new_task(task_type="first"), new_task(task_type="second")])
    assert caught.value.task_type == "second"
    assert await rig.length("first") == 0


async def test_a_known_task_is_answered_by_a_full_queue_too(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, max_length=1)
    task = new_task(task_id=idempotent_id(TYPE, "order-7"))
    await rig.queue.submit(task)
    assert await rig.queue.submit(task) == Submitted(task.id, QUEUED, False)


async def test_concurrent_callers_share_round_trips_and_keep_their_own_results(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server, max_length=40)
    waiting = idempotent_id(TYPE, "known")
    await rig.submit(b"1", task_id=waiting)
    any_server.client.config_resetstat()

    fine = [new_task() for _ in range(30)]
    same = new_task(b"1", task_id=idempotent_id(TYPE, "twice"))
    outcomes = await asyncio.gather(
        *(rig.queue.submit(task) for task in fine),
        rig.queue.submit(same),
        rig.queue.submit(same),
        rig.queue.submit(new_task(b"2", task_id=waiting)),
        rig.queue.submit(new_task(b"1", task_id=waiting)),
        rig.queue.submit_many([new_task() for _ in range(20)]),
        rig.queue.submit(new_task()),
        return_exceptions=True,
    )
    calls = any_server.client.info("commandstats")["cmdstat_evalsha"]["calls"]

    assert outcomes[:30] == [Submitted(task.id, QUEUED, True) for task in fine]
    assert outcomes[30:32] == [Submitted(same.id, QUEUED, True), Submitted(same.id, QUEUED, False)]
    assert isinstance(outcomes[32], IdempotencyConflict)
    assert outcomes[33] == Submitted(waiting, QUEUED, False)
    assert isinstance(outcomes[34], QueueFull)
    assert isinstance(outcomes[35], Submitted)
    assert calls <= 3
    assert await rig.length() == 33


async def test_a_cancelled_caller_takes_nobody_elses_result_away(rig: Rig) -> None:
    first = asyncio.ensure_future(rig.queue.submit(new_task()))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(rig.queue.submit(new_task()))
    third = asyncio.ensure_future(rig.queue.submit(new_task()))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    assert (await third).created
    assert (await rig.queue.submit(new_task())).created


async def test_many_large_payloads_of_concurrent_callers_all_arrive(rig: Rig) -> None:
    payload = b'"' + b"x" * 1_000_000 + b'"'
    rig.raw.config_resetstat()
    submitted = await asyncio.gather(*(rig.submit(payload) for _ in range(60)))
    calls = rig.raw.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert 60 / 6 <= calls < 20  # the first alone, then five at a time: 4 MiB are enough
    assert await rig.length() == 60
    assert (await rig.queue.get(submitted[-1])).payload == payload


async def test_a_thousand_tasks_with_large_payloads_pass_through_every_move(
    any_server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(any_server)
    payload = b"[" + b" " * 2000 + b"]"
    batch = [new_task(payload) for _ in range(1000)]
    await rig.queue.submit_many(batch)
    worker = await rig.worker()

    tasks = (await worker.claim(1000)).tasks
    assert [task.id for task in tasks] == [task.id for task in batch]
    statuses, _ = await worker.settle([Released(task) for task in tasks])
    assert set(statuses) == {QUEUED}
    tasks = (await worker.claim(1000)).tasks
    statuses, _ = await worker.settle([Failed(task, "no", 0, 1) for task in tasks])
    assert set(statuses) == {PENDING}
    tasks = (await worker.claim(1000)).tasks
    assert len(tasks) == 1000
    statuses, _ = await worker.settle([Completed(task, payload, 1) for task in tasks])
    assert statuses == [TaskStatus.COMPLETED] * 1000
    assert (await rig.stats()).completions_total == 1000


async def test_a_batch_over_a_thousand_is_refused(rig: Rig) -> None:
    with pytest.raises(ValueError, match="1000 are allowed"):
        await rig.queue.submit_many([new_task() for _ in range(1001)])
    assert await rig.queue.submit_many([]) == []


async def test_a_large_payload_is_refused_before_anything_is_sent(rig: Rig) -> None:
    limit = rig.queue.max_payload_bytes
    await rig.submit(b"1" * limit)
    with pytest.raises(PayloadTooLarge, match=f"{limit + 1} bytes, the limit is {limit}"):
        await rig.submit(b"1" * (limit + 1))
    with pytest.raises(PayloadTooLarge):
        await rig.queue.submit_many([new_task(), new_task(b"1" * (limit + 1))])
    assert await rig.length() == 1


async def test_a_delayed_task_counts_as_waiting_once_it_is_due_with_no_worker(
    any_rig: Rig,
) -> None:
    submitted = await any_rig.queue.submit(new_task(delay_seconds=20))
    stats = await any_rig.stats()
    assert submitted.status is PENDING
    assert (stats.queue_length, stats.delayed, stats.due_soon) == (0, 1, 1)
    assert stats.oldest_age_seconds is None
    due_at = (await any_rig.queue.get(submitted.id)).due_at
    assert due_at is not None

    any_rig.make_due(submitted.id)
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.delayed, stats.due_soon) == (1, 0, 0)
    assert stats.queue_length_retries == 0
    assert stats.oldest_age_seconds is not None


async def test_a_delayed_task_is_claimed_when_it_is_due_and_not_before(rig: Rig) -> None:
    task_id = await rig.submit(delay_seconds=50)
    worker = await rig.worker()
    early = await worker.claim(1)
    assert early.tasks == []
    assert early.next_in_seconds == pytest.approx(50, abs=1)

    rig.make_due(task_id)
    task = await claim_one(worker)
    assert task.id == task_id
    record = await rig.queue.get(task_id)
    assert (record.status, record.due_at) == (TaskStatus.RUNNING, None)


@pytest.mark.parametrize("seconds", [5, 70 * 365 * 24 * 3600])
async def test_a_start_time_that_has_passed_means_at_once(rig: Rig, seconds: float) -> None:
    submitted = await rig.queue.submit(new_task(delay_seconds=-seconds))
    assert submitted.status is QUEUED


async def test_a_delayed_tasks_waiting_is_measured_from_when_it_was_due(rig: Rig) -> None:
    task_id = await rig.submit(delay_seconds=50)
    rig.raw.zadd(rig.key(f"delayed:{TYPE}"), {task_id: rig.now_ms() - 8000})
    await claim_one(await rig.worker())
    waited = (await rig.queue.stats()).waiting[TYPE]
    assert waited.sum_seconds == pytest.approx(8, abs=1)

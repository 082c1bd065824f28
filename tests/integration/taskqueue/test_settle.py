"""How attempts end: finish, fail, retries, dead letters, and who may end them (fencing)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from headrace.taskqueue import (
    Cancelled,
    Completed,
    Failed,
    IdempotencyConflict,
    Parked,
    Released,
    Settlement,
    Task,
    TaskNotFound,
    TaskStatus,
    idempotent_id,
    new_id,
)
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, ids, new_task, settle
from tests.keyspace import indexed

QUEUED, PENDING, RUNNING = TaskStatus.QUEUED, TaskStatus.PENDING, TaskStatus.RUNNING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED


async def test_finished_tasks_leave_every_index(any_rig: Rig) -> None:
    await any_rig.submit_many(3)
    worker = await any_rig.worker()
    for task in (await worker.claim(3)).tasks:
        await complete(worker, task)
    assert indexed(any_rig.server) == []
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running, stats.completions_total) == (0, 0, 3)


async def test_settlements_of_all_kinds_are_settled_in_one_call_and_in_order(any_rig: Rig) -> None:
    await any_rig.submit_many(7)
    worker = await any_rig.worker()
    a, b, c, d, e, f = (await worker.claim(6)).tasks
    in_a_minute = any_rig.now_ms() + 60_000
    statuses, claim = await worker.settle(
        [
            Failed(a, "again", 60_000, 10),
            Completed(b, b'"b"', 10),
            Parked(c, in_a_minute, b"state", 10),
            Failed(d, "never again", None, 10),
            Cancelled(e, 10),
            Released(f),
        ],
        claim_limit=1,
    )

    assert statuses == [PENDING, COMPLETED, PENDING, FAILED, CANCELLED, QUEUED]
    assert claim is not None
    assert ids(claim) == [f.id]
    assert [await any_rig.status(task.id) for task in (a, b, c, d, e, f)] == [
        *(PENDING, COMPLETED, PENDING, FAILED, CANCELLED),
        RUNNING,
    ]
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.running, stats.delayed) == (1, 1, 2)
    totals = (stats.completions_total, stats.failures_total, stats.retries_total)
    assert totals == (1, 1, 1)


async def test_the_same_finish_twice_is_a_success_and_counts_once(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    assert await complete(worker, task, b"1") is COMPLETED
    assert await complete(worker, task, b"2") is COMPLETED
    assert (await any_rig.queue.get(task.id)).result == b"1"
    assert (await any_rig.stats()).completions_total == 1


async def test_the_same_fail_park_or_release_twice_is_a_success(rig: Rig) -> None:
    await rig.submit_many(3)
    worker = await rig.worker()
    a, b, c = (await worker.claim(3)).tasks
    settlements: list[Settlement] = [
        Failed(a, "again", 60_000, 1),
        Parked(b, rig.now_ms() + 60_000, b"", 1),
        Released(c),
    ]
    first = await settle(worker, *settlements)
    assert first == [PENDING, PENDING, QUEUED]
    assert await settle(worker, *settlements) == first
    stats = await rig.stats()
    assert (stats.queue_length, stats.delayed, stats.retries_total) == (1, 2, 1)


async def test_a_repeated_fail_or_park_is_a_success_once_the_task_is_due_again(rig: Rig) -> None:
    await rig.submit_many(3)
    worker, other = await rig.worker("w1"), await rig.worker("w2")
    a, b, c = (await worker.claim(3)).tasks
    later = rig.now_ms() + 60_000
    settlements: list[Settlement] = [
        Failed(a, "again", 60_000, 1),
        Parked(b, later + 1, b"", 1),
        Parked(c, later, b"", 1),
    ]
    await settle(worker, *settlements)
    for task in (c, b, a):
        rig.make_due(task.id)
        await asyncio.sleep(0.002)
    assert ids(await other.claim(1)) == [c.id]
    assert await settle(worker, *settlements) == [QUEUED, QUEUED, None]
    stats = await rig.stats()
    assert (stats.queue_length, stats.running, stats.retries_total) == (2, 1, 1)


async def test_a_long_error_is_cut(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "水" * 20_000, None, 1))
    assert (await rig.queue.get(task_id)).error == "水" * 10_000


async def test_a_finish_after_a_takeover_changes_nothing(any_rig: Rig) -> None:
    await any_rig.submit()
    slow, fast = await any_rig.worker("slow"), await any_rig.worker("fast")
    late = await claim_one(slow)
    any_rig.expire_lease(late)
    taken_over = await claim_one(fast)
    assert (taken_over.id, taken_over.fence, taken_over.attempt) == (late.id, 2, 2)

    for settlement in (
        Completed(late, b'"late"', 1),
        Failed(late, "late", 0, 1),
        Parked(late, any_rig.now_ms(), b"late", 1),
        Cancelled(late, 1),
        Released(late),
    ):
        assert await settle(slow, settlement) == [None]
    assert not await slow.checkpoint(late, b"late")
    assert not await slow.progress(late, 50, "late")
    record = await any_rig.queue.get(late.id)
    assert (record.status, record.worker, record.retry_count) == (RUNNING, "fast", 0)
    assert (record.progress_message, record.error) == (None, None)

    assert await complete(fast, taken_over, b'"fast"') is COMPLETED
    assert await settle(slow, Completed(late, b'"late"', 1)) == [None]
    assert (await any_rig.queue.get(late.id)).result == b'"fast"'
    stats = await any_rig.stats()
    assert (stats.completions_total, stats.crashes_total, stats.running) == (1, 1, 0)


async def test_a_finish_after_the_lease_was_taken_back_is_lost(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    any_rig.expire_lease(task)
    assert await any_rig.queue.reap([TYPE]) == 1
    assert await settle(worker, Completed(task, b"1", 1)) == [None]
    assert await any_rig.status(task.id) is QUEUED
    assert await any_rig.length() == 1


async def test_a_finish_past_the_leases_end_counts_while_nobody_took_the_task(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    rig.expire_lease(task)
    assert await complete(worker, task) is COMPLETED
    assert (await rig.queue.get(task.id)).crash_count == 0


async def test_another_workers_finish_needs_the_fence_not_the_name(rig: Rig) -> None:
    # A pod that comes back under its old name is still another holder.
    await rig.submit()
    worker = await rig.worker("w1")
    late = await claim_one(worker)
    rig.expire_lease(late)
    again = await rig.worker("w1")
    await claim_one(again)
    assert await settle(again, Completed(late, b"1", 1)) == [None]


async def test_failures_are_retried_after_their_delay_until_none_remain(any_rig: Rig) -> None:
    task_id = await any_rig.submit(max_retries=2)
    worker = await any_rig.worker()
    for attempt in (1, 2):
        task = await claim_one(worker)
        assert task.attempt == attempt
        assert await settle(worker, Failed(task, f"error {attempt}", 30_000, 5)) == [PENDING]
        record = await any_rig.queue.get(task_id)
        assert (record.retry_count, record.error) == (attempt, f"error {attempt}")
        assert record.due_at is not None
        assert record.due_at - datetime.now(UTC) == pytest.approx(
            timedelta(seconds=30), abs=timedelta(seconds=2)
        )
        early = await worker.claim(1)
        assert early.tasks == []
        assert early.next_in_seconds == pytest.approx(30, abs=1)
        any_rig.make_due(task_id)
        stats = await any_rig.stats()
        assert (stats.queue_length, stats.queue_length_retries) == (1, 1)
    task = await claim_one(worker)
    assert (task.attempt, task.retry_count) == (3, 2)
    assert await settle(worker, Failed(task, "水 at last", 30_000, 5)) == [FAILED]

    record = await any_rig.queue.get(task_id)
    assert (record.status, record.error, record.retry_count) == (FAILED, "水 at last", 2)
    stats = await any_rig.stats()
    assert (stats.failures_total, stats.retries_total, stats.arrivals_total) == (1, 2, 1)
    assert (stats.queue_length, stats.queue_length_retries, stats.delayed) == (0, 0, 0)
    assert indexed(any_rig.server) == []


async def test_an_error_not_to_be_retried_fails_at_once(rig: Rig) -> None:
    await rig.submit(max_retries=5)
    worker = await rig.worker()
    task = await claim_one(worker)
    assert await settle(worker, Failed(task, "no", None, 1)) == [FAILED]


async def test_a_success_after_a_retry_takes_the_error_away(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    await complete(worker, await claim_one(worker))
    record = await rig.queue.get(task_id)
    assert (record.error, record.retry_count) == (None, 1)


async def test_broken_text_in_an_error_does_not_hinder_the_report(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    assert await worker.progress(task, 10, "half a pair: \ud83d")
    assert await settle(worker, Failed(task, "half a pair: \ud83d", None, 1)) == [FAILED]
    record = await rig.queue.get(task_id)
    assert (record.error, record.progress_message) == ("half a pair: ?",) * 2


async def test_dead_letters_are_listed_the_latest_first_and_retried(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    dead = []
    for n in range(3):
        dead.append(await any_rig.submit(b'{"large": "' + b"x" * 100 + b'"}', max_retries=0))
        await settle(worker, Failed(await claim_one(worker), f"error {n}", 0, 1))
        any_rig.raw.zadd(any_rig.key(f"dead:{TYPE}"), {dead[-1]: any_rig.now_ms() + n})

    listed = await any_rig.queue.dead_letters(TYPE)
    assert [task.id for task in listed] == dead[::-1]
    assert [task.error for task in listed] == ["error 2", "error 1", "error 0"]
    paged = await any_rig.queue.dead_letters(TYPE, offset=1, limit=1)
    assert [task.id for task in paged] == [dead[1]]
    assert await any_rig.queue.dead_letters("other") == []

    assert await any_rig.queue.retry(dead[1]) is QUEUED
    assert [task.id for task in await any_rig.queue.dead_letters(TYPE)] == [dead[2], dead[0]]
    task = await claim_one(worker)
    assert (task.id, task.attempt, task.retry_count, task.fence) == (dead[1], 1, 0, 2)
    assert (await any_rig.queue.get(dead[1])).error is None
    assert await complete(worker, task) is COMPLETED


async def test_a_task_retried_by_hand_that_failed_before_counts_as_no_retry(rig: Rig) -> None:
    task_id = await rig.submit(max_retries=1)
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "one", 0, 1))
    await settle(worker, Failed(await claim_one(worker), "two", 0, 1))
    await rig.queue.retry(task_id)
    stats = await rig.stats()
    assert (stats.queue_length, stats.queue_length_retries, stats.arrivals_total) == (1, 0, 2)
    record = await rig.queue.get(task_id)
    assert (record.retry_count, record.started_at, record.completed_at) == (0, None, None)


async def test_a_dead_letter_whose_record_is_gone_is_left_out(rig: Rig) -> None:
    worker = await rig.worker()
    for _ in range(2):
        await rig.submit(max_retries=0)
        await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    [latest, other] = await rig.queue.dead_letters(TYPE)
    rig.raw.delete(*(rig.key(f"{kind}:{latest.id}") for kind in ("task", "attempts")))
    assert await rig.queue.dead_letters(TYPE) == [other]


async def test_dead_letters_come_without_payload_and_result(rig: Rig) -> None:
    worker = await rig.worker()
    for payload in (b'"small"', b'"' + b"x" * 1000 + b'"'):
        await rig.submit(payload, max_retries=0)
        await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    listed = await rig.queue.dead_letters(TYPE)
    assert [(task.payload, task.result) for task in listed] == [(b"null", None)] * 2
    records = await rig.queue.get_many([task.id for task in listed])
    assert listed == [structs.replace(task, payload=b"null") for task in records if task]


async def test_a_run_outside_the_queue_answers_to_its_idempotency_key(rig: Rig) -> None:
    task_id = idempotent_id(TYPE, "order-1")
    moment = datetime.fromtimestamp(1_760_000_000, UTC)
    ran = Task(id=task_id, type=TYPE, status=COMPLETED, created_at=moment, payload=b"1")
    assert await rig.queue.store_final(ran)
    same = await rig.queue.submit(new_task(b"1", task_id=task_id))
    assert (same.status, same.created) == (COMPLETED, False)
    with pytest.raises(IdempotencyConflict):
        await rig.queue.submit(new_task(b"2", task_id=task_id))


async def test_a_run_outside_the_queue_is_stored_once_and_found_by_its_end_and_not_counted(
    any_rig: Rig,
) -> None:
    moment = datetime.fromtimestamp(1_760_000_000.123, UTC)
    task = Task(
        id=new_id(),
        type=TYPE,
        status=COMPLETED,
        created_at=moment,
        started_at=moment + timedelta(seconds=1),
        completed_at=moment + timedelta(seconds=2),
        payload=b'{"a": "' + b"x" * 100 + b'"}',
        result=b"[" + b"1," * 100 + b"1]",
    )
    assert await any_rig.queue.store_final(task)
    assert await any_rig.queue.get(task.id) == task
    failed = Task(
        id=new_id(), type=TYPE, status=FAILED, created_at=moment, error="too slow", max_retries=0
    )
    assert await any_rig.queue.store_final(failed)
    record = await any_rig.queue.get(failed.id)
    assert (record.status, record.error, record.result) == (FAILED, "too slow", None)

    stats = await any_rig.stats()
    assert (stats.arrivals_total, stats.completions_total, stats.failures_total) == (0, 0, 0)
    assert [dead.id for dead in await any_rig.queue.dead_letters(TYPE)] == [failed.id]
    ended = any_rig.raw.zrange(any_rig.key(f"ended:{TYPE}:completed"), 0, -1, withscores=True)
    assert ended == [(task.id.encode(), 1_760_000_002_123)]
    assert indexed(any_rig.server) == []


async def test_a_run_outside_the_queue_overwrites_no_record(rig: Rig) -> None:
    task_id = await rig.submit(b"1")
    taken = Task(id=task_id, type=TYPE, status=COMPLETED, created_at=datetime.now(UTC))
    assert not await rig.queue.store_final(taken)
    assert await rig.status(task_id) is QUEUED


async def test_an_unknown_task_is_said_to_be_unknown(any_rig: Rig) -> None:
    for call in (any_rig.queue.get, any_rig.queue.cancel, any_rig.queue.retry):
        with pytest.raises(TaskNotFound, match="no task nowhere"):
            await call("nowhere")
    assert await any_rig.queue.get_many(["nowhere"]) == [None]


async def test_pinned_texts_are_kept_by_their_hash(rig: Rig) -> None:
    sha256 = await rig.queue.put_definition("步骤: 1".encode())
    assert await rig.queue.put_definition("步骤: 1".encode()) == sha256
    assert await rig.queue.get_definition(sha256) == "步骤: 1".encode()
    assert await rig.queue.get_definition("0" * 64) is None

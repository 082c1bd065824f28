"""Parking and resuming, checkpoints, handing back, progress."""

from __future__ import annotations

import pytest

from headrace.taskqueue import MAX_CRASHES, Completed, Failed, Parked, Released, TaskStatus
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, ids, settle
from tests.keyspace import indexed

QUEUED, PENDING, RUNNING = TaskStatus.QUEUED, TaskStatus.PENDING, TaskStatus.RUNNING
COMPLETED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.CANCELLED

STATE = b'{"list": [], "number": 12345678901234567}'


async def test_a_parked_run_goes_on_with_its_state_and_its_start_time(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker, other = await any_rig.worker("w1"), await any_rig.worker("w2")
    task = await claim_one(worker)
    long_ago = task.started_at_ms - 600_000
    any_rig.raw.hset(any_rig.key(f"task:{task_id}"), "b", long_ago)
    before = await any_rig.stats()
    later = any_rig.now_ms() + 40_000
    assert await settle(worker, Parked(task, later, STATE, 1500)) == [PENDING]

    record = await any_rig.queue.get(task_id)
    assert (record.status, record.retry_count, record.crash_count) == (PENDING, 0, 0)
    assert record.started_at is not None
    assert record.due_at is not None
    assert int(record.due_at.timestamp() * 1000) == pytest.approx(later, abs=1)
    stats = await any_rig.stats()
    assert (stats.running, stats.delayed, stats.queue_length) == (0, 1, 0)
    claim = await other.claim(1)
    assert claim.tasks == []
    assert claim.next_in_seconds == pytest.approx(40, abs=1)

    any_rig.make_due(task_id)
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.queue_length_retries) == (1, 0)
    resumed = await claim_one(other)
    assert (resumed.state, resumed.started_at_ms) == (STATE, long_ago)
    assert (resumed.attempt, resumed.fence, resumed.retry_count) == (1, 2, 0)
    after = await any_rig.stats()
    for counter in ("arrivals_total", "retries_total", "completions_total", "failures_total"):
        assert getattr(after, counter) == getattr(before, counter)

    assert await complete(other, resumed) is COMPLETED
    ended = await any_rig.queue.get(task_id)
    assert ended.started_at == record.started_at
    assert (await any_rig.stats()).completions_total == 1
    assert any_rig.raw.exists(any_rig.key(f"state:{task_id}")) == 0


async def test_a_parked_run_is_cancelled_like_any_waiting_task(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    await settle(worker, Parked(await claim_one(worker), any_rig.now_ms() + 60_000, STATE, 1))
    assert await any_rig.queue.cancel(task_id) is CANCELLED
    assert await any_rig.status(task_id) is CANCELLED
    assert indexed(any_rig.server) == []
    assert any_rig.raw.exists(any_rig.key(f"state:{task_id}")) == 0


async def test_parking_after_a_stop_was_asked_for_cancels(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    await rig.queue.cancel(task_id, running=True)
    settlement = Parked(task, rig.now_ms() + 60_000, STATE, 1)
    assert await settle(worker, settlement, settlement) == [CANCELLED, CANCELLED]
    assert indexed(rig.server) == []


async def test_a_parked_retry_still_counts_as_a_retry_when_due(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))
    await settle(worker, Parked(await claim_one(worker), rig.now_ms() + 60_000, STATE, 1))
    rig.make_due(task_id)
    stats = await rig.stats()
    assert (stats.queue_length, stats.queue_length_retries) == (1, 1)
    task = await claim_one(worker)
    assert (task.attempt, task.state) == (2, STATE)
    assert (await rig.stats()).queue_length_retries == 0


async def test_a_time_that_has_passed_resumes_at_once(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, Parked(await claim_one(worker), rig.now_ms() - 1, b"", 1))
    task = await claim_one(worker)
    assert (task.id, task.state) == (task_id, None)


async def test_a_failure_after_a_park_starts_anew_but_keeps_the_state(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, Parked(await claim_one(worker), rig.now_ms(), STATE, 1))
    rig.raw.hset(rig.key(f"task:{task_id}"), "b", 1_700_000_000_000)
    resumed = await claim_one(worker)
    assert resumed.started_at_ms == 1_700_000_000_000
    await settle(worker, Failed(resumed, "no", 0, 1))
    again = await claim_one(worker)
    assert again.started_at_ms > 1_700_000_000_000
    assert again.state == STATE


async def test_a_checkpoint_survives_a_crash(any_rig: Rig) -> None:
    await any_rig.submit()
    worker, other = await any_rig.worker("w1"), await any_rig.worker("w2")
    task = await claim_one(worker)
    assert await worker.checkpoint(task, b"first")
    assert await worker.checkpoint(task, STATE)
    any_rig.expire_lease(task)
    again = await claim_one(other)
    assert (again.state, again.crash_count) == (STATE, 1)
    assert await complete(other, again) is COMPLETED


async def test_a_task_that_is_handed_back_is_the_next_and_has_not_crashed(any_rig: Rig) -> None:
    submitted = await any_rig.submit_many(3)
    worker, other = await any_rig.worker("w1"), await any_rig.worker("w2")
    task = await claim_one(worker)
    assert await settle(worker, Released(task)) == [QUEUED]
    stats = await any_rig.stats()
    assert (stats.queue_length, stats.queue_length_retries, stats.crashes_total) == (3, 0, 0)
    claim = await other.claim(3)
    assert ids(claim) == submitted
    assert (claim.tasks[0].attempt, claim.tasks[0].fence) == (1, 2)


async def test_handing_back_after_a_stop_was_asked_for_cancels(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    await rig.queue.cancel(task_id, running=True)
    assert await settle(worker, Released(task)) == [CANCELLED]
    assert await rig.length() == 0


async def test_progress_is_seen_in_the_record(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    assert await worker.progress(task, 12.5, "水" * 300)
    record = await any_rig.queue.get(task_id)
    assert (record.progress_percent, record.progress_message) == (12.5, "水" * 200)
    await complete(worker, task)
    assert not await worker.progress(task, 99, "too late")
    assert not await worker.checkpoint(task, b"too late")
    assert (await any_rig.queue.get(task_id)).progress_percent == 12.5


async def test_a_repeated_report_of_an_older_attempt_is_lost(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    first = await claim_one(worker)
    await settle(worker, Released(first))
    second = await claim_one(worker)
    assert await settle(worker, Completed(first, b"1", 1)) == [None]
    assert await complete(worker, second) is COMPLETED
    assert await settle(worker, Completed(first, b"1", 1)) == [None]


async def test_parked_and_first_attempts_are_delayed_apart_from_retries(rig: Rig) -> None:
    await rig.submit(delay_seconds=60)
    worker = await rig.worker()
    await rig.submit_many(2)
    a, b = (await worker.claim(2)).tasks
    await settle(worker, Parked(a, rig.now_ms() + 60_000, b"", 1), Failed(b, "no", 20_000, 1))
    assert rig.raw.zcard(rig.key(f"delayed:{TYPE}")) == 2
    assert rig.raw.zcard(rig.key(f"retries:{TYPE}")) == 1
    stats = await rig.stats()
    assert (stats.delayed, stats.due_soon) == (3, 1)


async def test_a_park_puts_earlier_crashes_aside(any_rig: Rig) -> None:
    # A run of weeks loses a worker now and then: that does not make it poison.
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    for _ in range(3):
        for _ in range(MAX_CRASHES):
            any_rig.expire_lease(await claim_one(worker))
        task = await claim_one(worker)
        assert task.crash_count == MAX_CRASHES
        assert await settle(worker, Parked(task, any_rig.now_ms() + 60_000, STATE, 1)) == [PENDING]
        assert (await any_rig.queue.get(task_id)).crash_count == 0
        any_rig.make_due(task_id)
        stats = await any_rig.stats()
        assert (stats.queue_length, stats.queue_length_retries) == (1, 0)
    for _ in range(MAX_CRASHES + 1):
        any_rig.expire_lease(await claim_one(worker))
    await any_rig.queue.reap([TYPE])
    assert await any_rig.status(task_id) is TaskStatus.FAILED

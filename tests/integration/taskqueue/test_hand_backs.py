"""Tasks that are handed back again and again, each time soon after their attempt began."""

from __future__ import annotations

import pytest

from headrace.taskqueue import MAX_CRASHES, Consumer, Released, TaskStatus
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, settle
from tests.keyspace import indexed

QUEUED, FAILED, CANCELLED = TaskStatus.QUEUED, TaskStatus.FAILED, TaskStatus.CANCELLED
OFTEN = 10
SOON_MS = 59_999


async def hand_back(worker: Consumer, times: int, run_ms: int = SOON_MS) -> None:
    for _ in range(times):
        assert await settle(worker, Released(await claim_one(worker), run_ms)) == [QUEUED]


async def test_the_eleventh_time_in_an_hour_counts_as_a_crash_and_four_of_those_fail_it(
    any_rig: Rig,
) -> None:
    task_id = await any_rig.submit(max_retries=0)
    worker = await any_rig.worker()
    await hand_back(worker, OFTEN)
    record = await any_rig.queue.get(task_id)
    assert (record.status, record.crash_count, record.error) == (QUEUED, 0, None)

    await hand_back(worker, MAX_CRASHES)
    record = await any_rig.queue.get(task_id)
    assert (record.status, record.crash_count) == (QUEUED, MAX_CRASHES)
    assert "handed back 13 times within an hour" in (record.error or "")

    task = await claim_one(worker)
    for _ in range(2):  # the same call twice is a success
        assert await settle(worker, Released(task, 1)) == [FAILED]
    record = await any_rig.queue.get(task_id)
    assert (record.crash_count, record.retry_count) == (MAX_CRASHES + 1, 0)
    assert "handed back 14 times within an hour" in (record.error or "")
    assert [dead.id for dead in await any_rig.queue.dead_letters(TYPE)] == [task_id]
    stats = await any_rig.stats()
    assert (stats.crashes_total, stats.failures_total) == (MAX_CRASHES + 1, 1)
    assert indexed(any_rig.server) == []


@pytest.mark.parametrize("run_ms", [0, 60_000])
async def test_what_never_began_or_ran_for_a_minute_goes_back_as_often_as_it_has_to(
    rig: Rig, run_ms: int
) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await hand_back(worker, 3 * OFTEN, run_ms)
    assert (await rig.queue.get(task_id)).crash_count == 0


@pytest.mark.parametrize("ago_ms", [3_600_001, -60_000])
async def test_after_an_hour_it_is_counted_anew_also_by_a_clock_that_went_back(
    rig: Rig, ago_ms: int
) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await hand_back(worker, OFTEN)
    rig.raw.hset(rig.key(f"task:{task_id}"), "hb", f"{rig.now_ms() - ago_ms}:{OFTEN}")
    await hand_back(worker, OFTEN)
    assert (await rig.queue.get(task_id)).crash_count == 0


async def test_a_task_that_comes_back_too_often_and_is_asked_to_stop_is_cancelled(
    rig: Rig,
) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await hand_back(worker, OFTEN)
    task = await claim_one(worker)
    await rig.queue.cancel(task_id, running=True)
    assert await settle(worker, Released(task, SOON_MS)) == [CANCELLED]
    assert indexed(rig.server) == []


async def test_a_retry_by_hand_starts_anew(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await hand_back(worker, OFTEN + MAX_CRASHES)
    await settle(worker, Released(await claim_one(worker), SOON_MS))
    await rig.queue.retry(task_id)
    await hand_back(worker, OFTEN)
    record = await rig.queue.get(task_id)
    assert (record.status, record.crash_count) == (QUEUED, 0)
    await complete(worker, await claim_one(worker))
    assert (await rig.queue.get(task_id)).error is None

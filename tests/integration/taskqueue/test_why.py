"""Why a task waits: a code and a sentence, from facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from headrace.taskqueue import Failed, Parked, TaskNotFound, WhyCode, new_id
from tests.integration.taskqueue.rig import Rig, claim_one, complete, settle
from tests.integration.taskqueue.test_children import family, on_inbox

if TYPE_CHECKING:
    from headrace.taskqueue import Consumer


async def fill(worker: Consumer) -> None:
    """All ten slots of a worker are taken."""
    assert len((await worker.claim(10)).tasks) == 10


async def test_a_start_time_that_has_not_come(rig: Rig) -> None:
    task_id = await rig.submit(delay_seconds=60)
    why = await rig.queue.why(task_id)
    assert why.code is WhyCode.STARTS_AT
    assert why.until is not None
    assert why.until - datetime.now(UTC) < timedelta(seconds=61)
    assert "start time" in why.text


async def test_a_back_off(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    await settle(worker, Failed(await claim_one(worker), "no", 60_000, 1))
    why = await rig.queue.why(task_id)
    assert why.code is WhyCode.BACK_OFF
    assert why.live_workers == 1


@pytest.mark.parametrize("waits_for_time", [True, False])
async def test_a_parked_run(rig: Rig, waits_for_time: bool) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    if waits_for_time:
        await settle(worker, Parked(task, rig.now_ms() + 60_000, b"state", 1))
    else:
        await settle(worker, Parked(task, None, b"state", 1, "inbox"))
    why = await rig.queue.why(task_id)
    assert why.code is WhyCode.PARKED
    assert (why.until is not None) == waits_for_time
    assert ("inbox" in why.text) != waits_for_time


async def test_a_run_that_waits_for_a_child(rig: Rig) -> None:
    worker, parent, [child_id] = await family(rig)
    await settle(worker, on_inbox(parent))
    why = await rig.queue.why(parent.id)
    assert (why.code, why.until) == (WhyCode.WAITS_FOR_CHILD, None)
    assert "child" in why.text
    assert (await rig.queue.why(child_id)).code is not WhyCode.WAITS_FOR_CHILD


async def test_no_worker_ever(rig: Rig) -> None:
    await rig.submit()
    task_id = await rig.submit()
    why = await rig.queue.why(task_id)
    assert (why.code, why.position, why.last_worker) == (WhyCode.NO_WORKER, 2, None)
    assert "Start one" in why.text


async def test_a_worker_that_was_lost_is_named(rig: Rig) -> None:
    worker = await rig.worker("w7")
    await rig.submit()
    await complete(worker, await claim_one(worker))
    rig.raw.delete(rig.key("worker:w7"))
    why = await rig.queue.why(await rig.submit())
    assert (why.code, why.last_worker) == (WhyCode.NO_WORKER, "w7")
    assert "w7 did last" in why.text


async def test_scaled_to_zero(rig: Rig) -> None:
    worker = await rig.worker("w7")
    await worker.deregister()
    why = await rig.queue.why(await rig.submit())
    assert (why.code, why.last_worker) == (WhyCode.SCALED_TO_ZERO, "w7")


async def test_all_slots_are_full_or_one_is_free_or_all_drain(rig: Rig) -> None:
    worker = await rig.worker("w1")
    await rig.submit_many(10)
    await fill(worker)
    task_id = await rig.submit()
    why = await rig.queue.why(task_id)
    assert (why.code, why.position, why.live_workers) == (WhyCode.SLOTS_FULL, 1, 1)
    await rig.worker("w2")
    assert (await rig.queue.why(task_id)).code is WhyCode.NEXT
    for worker_id in ("w1", "w2"):
        await rig.queue.drain(worker_id)
    assert (await rig.queue.why(task_id)).code is WhyCode.DRAINING


async def test_the_position_counts_no_cancelled_tasks_and_is_estimated_far_back(rig: Rig) -> None:
    first = await rig.submit_many(1000)
    await rig.queue.cancel(first[0])
    assert (await rig.queue.why(first[-1])).position == 999
    await rig.submit_many(11_000)
    last = await rig.submit()
    why = await rig.queue.why(last)
    assert why.position is not None
    assert not why.position_is_exact
    assert 10_500 < why.position <= 12_001
    assert "About" in why.text


async def test_what_runs_or_has_ended_does_not_wait(rig: Rig) -> None:
    task_id = await rig.submit()
    worker = await rig.worker()
    task = await claim_one(worker)
    assert (await rig.queue.why(task_id)).code is WhyCode.RUNNING
    await complete(worker, task)
    assert (await rig.queue.why(task_id)).code is WhyCode.ENDED
    with pytest.raises(TaskNotFound):
        await rig.queue.why(new_id())

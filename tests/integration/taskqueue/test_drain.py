"""Draining: a marked worker claims nothing, says when it is empty, and the mark ends by itself."""

from __future__ import annotations

import asyncio

import pytest

from headrace.taskqueue import DRAIN_SECONDS, Completed, TaskStatus, WorkerNotFound, WorkerStatus
from tests.integration.taskqueue.rig import Rig, claim_one, complete, ids, renew, running, waiting


async def seen(rig: Rig, worker_id: str = "w1") -> WorkerStatus:
    [worker] = [w for w in (await rig.queue.stats()).workers if w.id == worker_id]
    return worker


async def test_a_marked_worker_claims_nothing_until_the_mark_is_taken_away(any_rig: Rig) -> None:
    [task_id] = await any_rig.submit_many(1)
    worker = await any_rig.worker()
    await any_rig.queue.drain("w1")
    for claim in (
        await worker.claim(10),
        await worker.wait_and_claim(10, 0.01),
        (await worker.settle([], claim_limit=10))[1],
    ):
        assert claim is not None
        assert (claim.tasks, claim.draining) == ([], True)
    assert await any_rig.length() == 1
    assert (await seen(any_rig)).draining

    await any_rig.queue.undrain("w1")
    claim = await worker.claim(10)
    assert (ids(claim), claim.draining) == ([task_id], False)
    assert not (await seen(any_rig)).draining


async def test_other_workers_go_on(rig: Rig) -> None:
    await rig.submit()
    await rig.worker("w1")
    other = await rig.worker("w2")
    await rig.queue.drain("w1")
    assert len((await other.claim(1)).tasks) == 1


async def test_the_mark_ends_by_itself_unless_it_is_renewed(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    mark = any_rig.key("drain:w1")
    await any_rig.queue.drain("w1")
    assert any_rig.raw.pttl(mark) == pytest.approx(DRAIN_SECONDS * 1000, abs=1000)
    any_rig.raw.pexpire(mark, 1000)
    await any_rig.queue.drain("w1")
    assert any_rig.raw.pttl(mark) == pytest.approx(DRAIN_SECONDS * 1000, abs=1000)

    any_rig.raw.pexpire(mark, 1)
    while any_rig.raw.exists(mark):
        pass
    assert len((await worker.claim(1)).tasks) == 1
    assert not (await seen(any_rig)).draining


async def test_a_worker_is_drained_once_nothing_is_held_and_no_slot_is_busy(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    renewal = await renew(any_rig, worker, [task])
    assert (renewal.draining, renewal.drained) == (False, False)

    await any_rig.queue.drain("w1")
    renewal = await renew(any_rig, worker, [task])
    assert (renewal.draining, renewal.drained) == (True, False)
    status = await seen(any_rig)
    assert (status.draining, status.drained, status.busy_slots) == (True, False, 1)

    # The task has ended, its thread is past its time-out and still holds the slot.
    await complete(worker, task)
    renewal = await renew(any_rig, worker, busy=[running(task, timed_out=True)])
    assert not renewal.drained
    status = await seen(any_rig)
    assert (status.drained, status.busy_slots) == (False, 1)

    renewal = await renew(any_rig, worker)
    assert renewal.drained
    status = await seen(any_rig)
    assert (status.drained, status.busy_slots, status.running) == (True, 0, [])


async def test_a_claim_whose_reply_is_under_way_keeps_a_worker_from_being_drained(
    rig: Rig,
) -> None:
    await rig.submit()
    worker = await rig.worker()
    await worker.claim(1)  # executed, its reply not read yet: the snapshot below is older
    await rig.queue.drain("w1")
    assert not (await renew(rig, worker, [], busy=[], settled_request=0)).drained
    assert (await renew(rig, worker, [], busy=[], settled_request=1)).drained
    assert await rig.length() == 1


async def test_a_new_mark_needs_a_new_acknowledgement(any_rig: Rig) -> None:
    worker = await any_rig.worker()
    await any_rig.queue.drain("w1")
    assert (await renew(any_rig, worker)).drained
    await any_rig.queue.undrain("w1")
    await any_rig.queue.drain("w1")
    status = await seen(any_rig)
    assert (status.draining, status.drained) == (True, False)
    assert (await renew(any_rig, worker)).drained

    # Renewing the mark is no new mark; one that came after its end is.
    await any_rig.queue.drain("w1")
    assert (await seen(any_rig)).drained
    any_rig.raw.delete(any_rig.key("drain:w1"))
    await any_rig.queue.drain("w1")
    assert not (await seen(any_rig)).drained


async def test_a_mark_and_its_end_make_the_heartbeat_come_at_once(rig: Rig) -> None:
    worker = await rig.worker()
    renewer = rig.renewer(worker)
    await rig.queue.drain("w1")
    assert renewer.wait_for_signal(1)
    await rig.queue.drain("w1")
    assert not renewer.wait_for_signal(0.01)
    await rig.queue.undrain("w1")
    assert renewer.wait_for_signal(1)


async def test_only_known_workers_are_marked(any_rig: Rig) -> None:
    with pytest.raises(WorkerNotFound, match="no worker nobody"):
        await any_rig.queue.drain("nobody")
    with pytest.raises(WorkerNotFound, match="no worker nobody"):
        await any_rig.queue.undrain("nobody")
    worker = await any_rig.worker()
    await any_rig.queue.undrain("w1")
    await worker.deregister()
    with pytest.raises(WorkerNotFound):
        await any_rig.queue.drain("w1")


async def test_what_a_draining_worker_finishes_counts(rig: Rig) -> None:
    await rig.submit_many(2)
    worker = await rig.worker()
    task = await claim_one(worker)
    await rig.queue.drain("w1")
    statuses, claim = await worker.settle([Completed(task, b"1", 1)], claim_limit=1)
    assert statuses == [TaskStatus.COMPLETED]
    assert claim is not None
    assert (claim.tasks, claim.draining) == ([], True)


async def test_a_draining_worker_passes_the_wake_up_on(any_rig: Rig) -> None:
    leaving, idle = await any_rig.worker("leaving"), await any_rig.worker("idle")
    await any_rig.queue.drain("leaving")
    first, second = await waiting(any_rig, [leaving, idle])
    task_id = await any_rig.submit()  # its one token goes to whoever has waited longest
    async with asyncio.timeout(3):
        assert (await first).tasks == []
        assert ids(await second) == [task_id]

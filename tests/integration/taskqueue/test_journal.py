"""A task's journal: entries that are appended beside its state."""

from __future__ import annotations

import msgspec
import pytest

from headrace.taskqueue import ClaimedTask, Completed, Failed, Parked, Released, TaskStatus
from headrace.taskqueue.errors import UpgradeInProgress
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, complete, settle
from tests.integration.taskqueue.test_options import forget_answer, old_worker
from tests.keyspace import indexed, unexpected_keys

PENDING, QUEUED, COMPLETED = TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.COMPLETED
ENTRIES = (b"first", b"", b"\x00\xff", b"x" * 1000)


def with_journal(task: ClaimedTask, *entries: bytes) -> ClaimedTask:
    """As its worker knows it after it has appended these."""
    return msgspec.structs.replace(task, journal=(*task.journal, *entries))


async def expire_and_claim(rig: Rig, worker_id: str, task: ClaimedTask) -> ClaimedTask:
    """As if the worker of a task had died."""
    rig.expire_lease(task)
    return await claim_one(await rig.worker(worker_id))


async def test_the_attempt_after_a_crash_finds_all_entries_in_order(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    assert task.journal == ()
    assert await worker.append(task, ENTRIES[:1])
    assert await worker.append(with_journal(task, *ENTRIES[:1]), ENTRIES[1:])
    again = await expire_and_claim(any_rig, "w2", task)
    assert (again.state, again.journal) == (None, ENTRIES)
    more = [b"%d" % n for n in range(2500)]
    other = await any_rig.worker("w2")
    assert await other.append(again, more)
    third = await expire_and_claim(any_rig, "w3", again)
    assert third.journal == (*ENTRIES, *more)
    assert await complete(await any_rig.worker("w3"), third) is COMPLETED
    assert unexpected_keys(any_rig.server) == []


async def test_the_same_append_twice_adds_once(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    for _ in range(3):
        assert await worker.append(task, [b"1", b"2"])
    assert (await expire_and_claim(any_rig, "w2", task)).journal == (b"1", b"2")


async def test_only_the_holder_of_the_lease_appends(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await expire_and_claim(any_rig, "w2", task)
    assert not await worker.append(task, [b"late"])
    assert any_rig.raw.exists(any_rig.key(f"journal:{task.id}")) == 0


async def test_a_checkpoint_replaces_state_and_journal_in_one_step(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await worker.append(task, ENTRIES)
    assert await worker.checkpoint(task, b"state")
    again = await expire_and_claim(any_rig, "w2", task)
    assert (again.state, again.journal) == (b"state", ())
    worker = await any_rig.worker("w2")
    await worker.append(again, ENTRIES)
    for _ in range(2):
        assert await worker.checkpoint(again, b"newer", [b"a", b"b"])
    third = await expire_and_claim(any_rig, "w3", again)
    assert (third.state, third.journal) == (b"newer", (b"a", b"b"))


@pytest.mark.parametrize(
    ("state", "expected"),
    [(None, (b"old", (b"1", b"2", b"3"))), (b"new", (b"new", (b"2", b"3")))],
    ids=["without a state", "with a state"],
)
async def test_a_park_appends_or_begins_a_new_journal(
    any_rig: Rig, state: bytes | None, expected: tuple[bytes, tuple[bytes, ...]]
) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await worker.checkpoint(task, b"old", [b"1"])
    parked = Parked(task, any_rig.now_ms() + 60_000, state, 1, entries=[b"2", b"3"])
    other = Parked(task, any_rig.now_ms() + 60_000, b"", 1)
    assert await settle(worker, parked, other) == [PENDING, PENDING]  # the second comes too late
    any_rig.make_due(task.id)
    again = await claim_one(worker)
    assert (again.state, again.journal) == expected


async def test_a_failed_or_released_attempt_leaves_its_journal_to_the_next(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await worker.append(task, [b"1"])
    await settle(worker, Released(task, 1))
    task = await claim_one(worker)
    await worker.append(task, [b"2"])
    await settle(worker, Failed(task, "no", 60_000, 1))
    any_rig.make_due(task.id)
    assert (await claim_one(worker)).journal == (b"1", b"2")


async def test_a_task_retried_by_hand_begins_with_an_empty_journal(any_rig: Rig) -> None:
    task_id = await any_rig.submit(max_retries=0)
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await worker.append(task, [b"1"])
    await settle(worker, Failed(task, "no", 0, 1))
    await any_rig.queue.retry(task_id)
    again = await claim_one(worker)
    assert (again.state, again.journal) == (None, ())
    assert await worker.append(again, [b"2"])


async def test_after_a_loss_of_data_the_journal_is_put_back(any_rig: Rig) -> None:
    await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await worker.append(task, ENTRIES)
    any_rig.server.flush()
    assert await worker.restore([with_journal(task, *ENTRIES)]) == [True]
    assert await worker.append(with_journal(task, *ENTRIES), [b"last"])
    again = await expire_and_claim(any_rig, "w2", task)
    assert again.journal == (*ENTRIES, b"last")


async def test_a_journal_that_has_lost_entries_is_set_aside_with_its_task(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await worker.append(task, ENTRIES)
    any_rig.raw.lpop(any_rig.key(f"journal:{task_id}"))
    any_rig.expire_lease(task)
    assert (await worker.claim(1)).tasks == []
    [(_, entry)] = any_rig.raw.xrange(any_rig.key("damaged"))
    assert entry == {b"what": f"task:{task_id}".encode(), b"why": b"its journal is gone"}
    assert any_rig.raw.ttl(any_rig.key(f"journal:{task_id}")) > 0
    assert indexed(any_rig.server) == []
    any_rig.server.flush()


async def test_no_journal_begins_while_a_worker_lives_that_could_not_read_it(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    old = await old_worker(any_rig)
    worker = await any_rig.worker()
    task = await claim_one(worker)
    for entries in ([b"1"], []):
        with pytest.raises(UpgradeInProgress):
            await worker.append(task, entries)
    with pytest.raises(UpgradeInProgress):
        await worker.checkpoint(task, b"new", [b"1"])
    assert await worker.checkpoint(task, b"state")
    parked = Parked(task, any_rig.now_ms() + 60_000, b"new", 1, entries=[b"1"])
    assert await settle(worker, parked) == [PENDING]
    due = any_rig.raw.zscore(any_rig.key(f"delayed:{TYPE}"), task_id)
    assert due == pytest.approx(any_rig.now_ms() + 5000, abs=1000)  # it looks again
    assert any_rig.field(task_id, "v") == b"1"

    any_rig.make_due(task_id)
    again = await claim_one(worker)
    assert (again.state, again.journal) == (b"state", ())
    await old.deregister()
    forget_answer(any_rig)
    assert await worker.append(again, [])
    assert any_rig.field(task_id, "v") == b"2"
    # What has a journal keeps it, whoever comes: an old worker does not touch it.
    await old_worker(any_rig, "old again")
    assert await worker.append(again, [b"1"])
    assert await settle(worker, Completed(again, b"1", 1)) == [COMPLETED]
    assert unexpected_keys(any_rig.server) == []


async def test_a_task_without_a_journal_stays_one_of_version_1(any_rig: Rig) -> None:
    task_id = await any_rig.submit()
    worker = await any_rig.worker()
    task = await claim_one(worker)
    await worker.checkpoint(task, b"state")
    await settle(worker, Parked(task, any_rig.now_ms() + 60_000, b"state", 1))
    assert any_rig.field(task_id, "v") == b"1"

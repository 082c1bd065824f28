"""Parents and children: a child's end wakes its parent, a cancel of the parent comes to it."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from headrace.limits import MAX_CHILDREN
from headrace.taskqueue import (
    Cancelled,
    ChildrenFull,
    ClaimedTask,
    Completed,
    Consumer,
    Failed,
    NewTask,
    Parked,
    QueueFull,
    Released,
    Task,
    TaskStatus,
    TooDeep,
    UpgradeInProgress,
    new_id,
)
from headrace.taskqueue.task import utc
from tests.integration.taskqueue.conftest import RigFactory
from tests.integration.taskqueue.rig import Rig, claim_one, complete, renew, settle
from tests.integration.taskqueue.test_options import old_worker
from tests.keyspace import indexed
from tests.servers import RedisServer

PENDING, QUEUED, RUNNING = TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RUNNING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
CHILD = "child"


def new_child(task_type: str = CHILD, **options: object) -> NewTask:
    return NewTask(type=task_type, payload=b'{"n": 1}', id=new_id(), **options)  # type: ignore[arg-type]


def same_child(task_id: str) -> NewTask:
    return NewTask(type=CHILD, payload=b'{"n": 1}', id=task_id)


async def family(rig: Rig, count: int = 1) -> tuple[Consumer, ClaimedTask, list[str]]:
    """A worker, a parent that it runs, and so many children that nobody has claimed yet."""
    await rig.submit()
    worker = await rig.worker()
    parent = await claim_one(worker)
    children = [new_child() for _ in range(count)]
    for child in children:
        submitted = await worker.submit_child(parent, child)
        assert submitted is not None
        assert submitted.created
    return worker, parent, [child.id for child in children]


def on_inbox(task: ClaimedTask, unpark_at_ms: int | None = None) -> Parked:
    return Parked(task, unpark_at_ms, b"state", 1, wake_on="inbox")


def item(task_id: str, status: str) -> bytes:
    return f'{{"child":"{task_id}","status":"{status}"}}'.encode()


async def worker_for_children(rig: Rig) -> Consumer:
    return await rig.worker("w2", queues=(CHILD,))


async def test_a_childs_end_wakes_its_parked_parent(any_rig: Rig) -> None:
    worker, parent, [child_id] = await family(any_rig)
    assert await settle(worker, on_inbox(parent)) == [PENDING]
    record = await any_rig.queue.get(child_id)
    assert (record.status, record.parent) == (QUEUED, parent.id)
    other = await worker_for_children(any_rig)
    child = await claim_one(other)
    assert (child.parent, child.depth, child.payload) == (parent.id, 1, b'{"n": 1}')
    assert (await any_rig.stats()).queue_length == 0  # a parked parent is no demand
    assert await complete(other, child, b'"done"') is COMPLETED
    assert (await any_rig.stats()).queue_length == 1
    again = await claim_one(worker)
    assert (again.id, again.inbox) == (parent.id, (item(child_id, "completed"),))
    assert await complete(worker, again) is COMPLETED
    assert indexed(any_rig.server) == []


async def end_by(way: str, rig: Rig, worker: Consumer, child_id: str) -> None:
    """Let a queued child end in some way."""
    if way == "cancelled in the queue":
        await rig.queue.cancel(child_id)
        return
    child = await claim_one(worker)
    if way == "failed":
        await settle(worker, Failed(child, "no", None, 1))
    elif way == "stopped":
        await settle(worker, Cancelled(child, 1))
    elif way == "lost":
        rig.raw.hset(rig.key(f"task:{child_id}"), "cc", 3)
        rig.expire_lease(child)
        await rig.queue.reap([CHILD])
    elif way == "handed back":
        await rig.queue.cancel(child_id, running=True)
        await settle(worker, Released(child, 1))
    elif way == "parked":
        await rig.queue.cancel(child_id, running=True)
        await settle(worker, Parked(child, 1, b"", 1))
    else:
        await settle(worker, Failed(child, "no", 60_000, 1))
        await rig.queue.cancel(child_id)


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("failed", FAILED),
        ("stopped", CANCELLED),
        ("lost", FAILED),
        ("handed back", CANCELLED),
        ("parked", CANCELLED),
        ("cancelled in the queue", CANCELLED),
        ("cancelled before its retry", CANCELLED),
    ],
)
async def test_whatever_way_a_child_ends_its_parent_learns_of_it(
    rig: Rig, way: str, status: TaskStatus
) -> None:
    worker, parent, [child_id] = await family(rig)
    await settle(worker, on_inbox(parent))
    await end_by(way, rig, await worker_for_children(rig), child_id)
    assert await rig.status(child_id) is status
    again = await claim_one(worker)
    assert again.inbox == (item(child_id, status),)
    await complete(worker, again)
    assert indexed(rig.server) == []


async def test_an_end_before_the_parent_parks_is_not_lost(any_rig: Rig) -> None:
    worker, parent, [child_id] = await family(any_rig)
    other = await worker_for_children(any_rig)
    await complete(other, await claim_one(other))
    assert await settle(worker, on_inbox(parent)) == [QUEUED]
    again = await claim_one(worker)
    assert again.inbox == (item(child_id, "completed"),)
    # After a crash it is found again.
    any_rig.expire_lease(again)
    third = await claim_one(worker)
    assert third.inbox == again.inbox
    assert await settle(worker, on_inbox(third, any_rig.now_ms() + 60_000)) == [PENDING]
    await any_rig.queue.cancel(parent.id)


async def test_a_parent_that_has_gone_hinders_no_end(any_rig: Rig) -> None:
    worker, parent, [first, second] = await family(any_rig, 2)
    assert await complete(worker, parent) is COMPLETED
    other = await worker_for_children(any_rig)
    assert await complete(other, await claim_one(other)) is COMPLETED
    any_rig.raw.delete(any_rig.key(f"task:{parent.id}"))
    assert await complete(other, await claim_one(other)) is COMPLETED
    assert [await any_rig.status(i) for i in (first, second)] == [COMPLETED, COMPLETED]
    assert any_rig.raw.exists(any_rig.key(f"inbox:{parent.id}")) == 0


async def test_the_same_child_twice_is_one_task(rig: Rig) -> None:
    worker, parent, [child_id] = await family(rig)
    other = await worker_for_children(rig)
    child = same_child(child_id)
    again = await worker.submit_child(parent, child)
    assert again is not None
    assert (again.created, again.status) == (False, QUEUED)
    await complete(other, await claim_one(other))
    again = await worker.submit_child(parent, child)
    assert again is not None
    assert (again.created, again.status) == (False, COMPLETED)
    assert (await rig.stats(CHILD)).arrivals_total == 1


async def test_only_the_holder_of_the_parent_submits_children(rig: Rig) -> None:
    worker, parent, _ = await family(rig)
    rig.expire_lease(parent)
    await claim_one(await rig.worker("w2"))
    child = new_child()
    assert await worker.submit_child(parent, child) is None
    assert await rig.queue.get_many([child.id]) == [None]


async def test_children_are_bounded_in_depth_in_number_and_by_their_queue(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, max_depth=2, max_length=5000)
    worker, parent, _ = await family(rig)
    child = await claim_one(await worker_for_children(rig))
    other = await worker_for_children(rig)
    assert await other.submit_child(child, new_child())
    grandchild = await claim_one(other)
    with pytest.raises(TooDeep, match=r"2 tasks deep at most.*QUEUE_MAX_DEPTH"):
        await other.submit_child(grandchild, new_child())
    for _ in range(MAX_CHILDREN - 1):
        await worker.submit_child(parent, new_child())
    with pytest.raises(ChildrenFull, match="1000 children that have not ended"):
        await worker.submit_child(parent, new_child())
    await complete(other, child)
    assert await worker.submit_child(parent, new_child())


async def test_a_child_is_refused_when_its_queue_is_full(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server, max_length=2)
    worker, parent, _ = await family(rig, 2)
    with pytest.raises(QueueFull, match="'child' holds its maximum of 2"):
        await worker.submit_child(parent, new_child())


async def test_no_child_is_taken_while_a_worker_lives_that_knows_none(rig: Rig) -> None:
    await rig.submit()
    worker = await rig.worker()
    parent = await claim_one(worker)
    await old_worker(rig)
    with pytest.raises(UpgradeInProgress):
        await worker.submit_child(parent, new_child())


@pytest.mark.parametrize("parked", [True, False], ids=["parked", "running"])
async def test_a_cancel_of_the_parent_reaches_its_children(any_rig: Rig, parked: bool) -> None:
    worker, parent, ids = await family(any_rig, 3)
    other = await worker_for_children(any_rig)
    running = await claim_one(other)
    late = await worker.submit_child(parent, new_child(start_at=in_an_hour(any_rig)))
    assert late is not None
    if parked:
        await settle(worker, on_inbox(parent))
        assert await any_rig.queue.cancel(parent.id) is CANCELLED
    else:
        assert await any_rig.queue.cancel(parent.id, running=True) is RUNNING
        assert await settle(worker, Cancelled(parent, 1)) == [CANCELLED]
        assert any_rig.raw.exists(any_rig.key("signal:w1")) == 1  # a heartbeat follows at once
        await renew(any_rig, worker)
    statuses = {i: await any_rig.status(i) for i in [*ids, late.id]}
    assert statuses.pop(running.id) is RUNNING
    assert set(statuses.values()) == {CANCELLED}
    assert (await renew(any_rig, other, [running])).cancelled == [running.hold]
    assert await settle(other, Cancelled(running, 1)) == [CANCELLED]
    assert indexed(any_rig.server) == []
    assert any_rig.raw.exists(any_rig.key("stopping"), any_rig.key(f"children:{parent.id}")) == 0


def in_an_hour(rig: Rig) -> datetime:
    return utc(rig.now_ms() + 3_600_000)


async def test_a_cancel_reaches_grandchildren(rig: Rig) -> None:
    worker, parent, _ = await family(rig)
    await settle(worker, on_inbox(parent))
    other = await worker_for_children(rig)
    child = await claim_one(other)
    grandchild = await other.submit_child(child, new_child())
    assert grandchild is not None
    await settle(other, on_inbox(child))
    await rig.queue.cancel(parent.id)
    assert [await rig.status(i) for i in (parent.id, child.id, grandchild.id)] == [CANCELLED] * 3
    assert indexed(rig.server) == []


async def test_a_cancel_stops_a_thousand_at_once_and_heartbeats_the_rest(
    server: RedisServer, new_rig: RigFactory
) -> None:
    rig = new_rig(server)
    worker, parent, [child_id] = await family(rig)
    await settle(worker, on_inbox(parent))
    other = await worker_for_children(rig)
    child = await claim_one(other)
    assert child.id == child_id
    for _ in range(MAX_CHILDREN):
        await other.submit_child(child, new_child())
    await settle(other, on_inbox(child))
    await rig.queue.cancel(parent.id)
    assert (await rig.stats(CHILD)).queue_length > 0
    await renew(rig, worker)
    assert (await rig.stats(CHILD)).queue_length == 0
    assert rig.raw.exists(rig.key("stopping")) == 0


async def test_a_parent_that_ends_otherwise_leaves_its_children_alone(rig: Rig) -> None:
    for ended in ("completed", "failed"):
        worker, parent, [child_id] = await family(rig)
        end = Completed(parent, b"1", 1) if ended == "completed" else Failed(parent, "no", None, 1)
        await settle(worker, end)
        await renew(rig, worker)
        assert await rig.status(child_id) is QUEUED


async def test_a_parent_retried_by_hand_hears_no_more_of_its_earlier_children(rig: Rig) -> None:
    worker, parent, _ = await family(rig)
    await settle(worker, Failed(parent, "no", None, 1))
    await rig.queue.retry(parent.id)
    again = await claim_one(worker)
    assert (parent.generation, again.generation) == (0, 1)
    assert await settle(worker, on_inbox(again)) == [PENDING]
    other = await worker_for_children(rig)
    await complete(other, await claim_one(other))
    assert await rig.status(parent.id) is PENDING
    await rig.queue.cancel(parent.id)


async def test_after_a_loss_of_data_a_child_still_tells_its_parent(rig: Rig) -> None:
    worker, parent, _ = await family(rig)
    other = await worker_for_children(rig)
    child = await claim_one(other)
    rig.server.flush()
    parent = msgspec.structs.replace(parent, has_children=True)
    assert await worker.restore([parent]) == [True]
    assert await other.restore([child]) == [True]
    assert (await worker.submit_child(parent, same_child(child.id))) is not None
    assert (await rig.queue.get(child.id)).parent == parent.id
    await settle(worker, on_inbox(parent))
    await complete(other, child)
    assert (await claim_one(worker)).inbox == (item(child.id, "completed"),)


async def test_a_child_shows_its_parent_and_other_tasks_none(rig: Rig) -> None:
    _, parent, [child_id] = await family(rig)
    found = await rig.queue.get_many([child_id, parent.id])
    assert [task.parent for task in found if isinstance(task, Task)] == [parent.id, None]


async def test_a_parent_that_cannot_be_read_is_set_aside_with_what_it_has(rig: Rig) -> None:
    worker, parent, _ = await family(rig, 2)
    other = await worker_for_children(rig)
    await complete(other, await claim_one(other))
    await settle(worker, on_inbox(parent))
    rig.raw.hset(rig.key(f"task:{parent.id}"), "b", "yesterday")
    assert await complete(other, await claim_one(other)) is COMPLETED
    for kind in ("children", "inbox", "state"):
        assert rig.raw.ttl(rig.key(f"{kind}:{parent.id}")) != -1, kind
    rig.server.flush()

"""How it is told that tasks ended: the indexes of ended tasks, and what is published."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest

from headrace.taskqueue import (
    MAX_CRASHES,
    Cancelled,
    Completed,
    Consumer,
    Failed,
    Parked,
    Released,
    Task,
    TaskQueue,
    TaskStatus,
    new_id,
)
from tests.integration.taskqueue.rig import TYPE, Rig, claim_one, renew, settle, worker_info

COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED


class Heard:
    """What was published, as a plain subscriber gets it."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    def messages(self) -> list[str]:
        found = []
        while message := self._pubsub.get_message(timeout=0.05):
            if message["type"] == "message":
                found.append(message["data"].decode())
        return found


@contextlib.contextmanager
def listening(rig: Rig) -> Iterator[Heard]:
    with rig.raw.pubsub() as pubsub:
        pubsub.subscribe(rig.key("ends"))
        assert pubsub.get_message(timeout=1.0)["type"] == "subscribe"
        yield Heard(pubsub)


def index(rig: Rig, status: TaskStatus, task_type: str = TYPE) -> dict[str, float]:
    """The index of the tasks that ended so: id → when."""
    name = f"dead:{task_type}" if status is FAILED else f"ended:{task_type}:{status}"
    return {i.decode(): at for i, at in rig.raw.zrange(rig.key(name), 0, -1, withscores=True)}


async def asked_to_stop(rig: Rig, worker: Consumer) -> Any:
    await rig.submit()
    task = await claim_one(worker)
    await rig.queue.cancel(task.id, running=True)
    return task


async def completed(rig: Rig, worker: Consumer) -> None:
    await rig.submit()
    await settle(worker, Completed(await claim_one(worker), b"1", 1))


async def stopped(rig: Rig, worker: Consumer) -> None:
    await settle(worker, Cancelled(await asked_to_stop(rig, worker), 1))


async def failed(rig: Rig, worker: Consumer) -> None:
    await rig.submit(max_retries=0)
    await settle(worker, Failed(await claim_one(worker), "no", 0, 1))


async def stopped_by_failing(rig: Rig, worker: Consumer) -> None:
    await settle(worker, Failed(await asked_to_stop(rig, worker), "no", 0, 1))


async def stopped_by_parking(rig: Rig, worker: Consumer) -> None:
    await settle(worker, Parked(await asked_to_stop(rig, worker), 1, b"", 1))


async def stopped_by_handing_back(rig: Rig, worker: Consumer) -> None:
    await settle(worker, Released(await asked_to_stop(rig, worker)))


async def stopped_by_leaving(rig: Rig, worker: Consumer) -> None:
    await asked_to_stop(rig, worker)
    await worker.deregister()


async def stopped_unheard(rig: Rig, worker: Consumer) -> None:
    await asked_to_stop(rig, worker)
    await renew(rig, worker, [], settled_request=100)


async def stopped_and_lost(rig: Rig, worker: Consumer) -> None:
    rig.expire_lease(await asked_to_stop(rig, worker))
    await worker.claim(1)


async def poison(rig: Rig, worker: Consumer) -> None:
    await rig.submit()
    for _ in range(MAX_CRASHES + 1):
        rig.expire_lease(await claim_one(worker))
    await rig.queue.reap([TYPE])


async def cancelled_while_queued(rig: Rig, _: Consumer) -> None:
    await rig.queue.cancel(await rig.submit())


async def cancelled_while_pending(rig: Rig, _: Consumer) -> None:
    await rig.queue.cancel(await rig.submit(delay_seconds=60))


async def read_without_its_lease(rig: Rig, worker: Consumer) -> None:
    task = await asked_to_stop(rig, worker)
    rig.raw.delete(rig.key(f"leases:{TYPE}"))
    await rig.queue.get(task.id)


async def run_elsewhere(rig: Rig, _: Consumer) -> None:
    moment = datetime.now(UTC)
    await rig.queue.store_final(
        Task(id=new_id(), type=TYPE, status=COMPLETED, created_at=moment, completed_at=moment)
    )


async def failed_elsewhere(rig: Rig, _: Consumer) -> None:
    await rig.queue.store_final(
        Task(id=new_id(), type=TYPE, status=FAILED, created_at=datetime.now(UTC), error="no")
    )


Way: TypeAlias = Callable[[Rig, Consumer], Coroutine[Any, Any, None]]
WAYS: list[tuple[Way, TaskStatus]] = [
    (completed, COMPLETED),
    (run_elsewhere, COMPLETED),
    (failed, FAILED),
    (failed_elsewhere, FAILED),
    (poison, FAILED),
    (stopped, CANCELLED),
    (stopped_by_failing, CANCELLED),
    (stopped_by_parking, CANCELLED),
    (stopped_by_handing_back, CANCELLED),
    (stopped_by_leaving, CANCELLED),
    (stopped_unheard, CANCELLED),
    (stopped_and_lost, CANCELLED),
    (cancelled_while_queued, CANCELLED),
    (cancelled_while_pending, CANCELLED),
    (read_without_its_lease, CANCELLED),
]


@pytest.mark.parametrize(("way", "status"), WAYS, ids=[way.__name__ for way, _ in WAYS])
async def test_however_a_task_ends_it_is_indexed_and_published(
    rig: Rig, way: Way, status: TaskStatus
) -> None:
    worker = await rig.worker()
    with listening(rig) as heard:
        await way(rig, worker)
        [(task_id, at)] = index(rig, status).items()
        assert heard.messages() == [f"1 {status} {task_id}"]
    record = await rig.queue.get(task_id)
    assert record.status is status
    assert record.completed_at is not None
    assert record.completed_at.timestamp() * 1000 == pytest.approx(at, abs=1)
    others = {COMPLETED, FAILED, CANCELLED} - {status}
    assert [index(rig, other) for other in others] == [{}, {}]
    assert rig.raw.hget(rig.key("meta"), "ends") == b"1"


async def test_what_a_call_ends_is_one_message(any_rig: Rig) -> None:
    worker = await any_rig.worker(queues=(TYPE, "other"))
    first = set(await any_rig.submit_many(3))
    other = set(await any_rig.submit_many(2, task_type="other"))
    claim = await worker.claim(5)
    with listening(any_rig) as heard:
        await settle(worker, *(Completed(task, b"1", 1) for task in claim.tasks))
        [message] = heard.messages()
    number, *words = message.split()
    assert number == "1"
    assert words.count("completed") == 2
    assert set(words) - {"completed"} == first | other
    assert index(any_rig, COMPLETED).keys() == first
    assert index(any_rig, COMPLETED, "other").keys() == other


async def test_a_thousand_ends_fit_into_one_call(rig: Rig) -> None:
    worker = await rig.worker()
    ids = await rig.submit_many(1000)
    claim = await worker.claim(1000)
    with listening(rig) as heard:
        await settle(worker, *(Completed(task, b"1", 1) for task in claim.tasks))
        [message] = heard.messages()
    assert set(message.split()) == {"1", "completed", *ids}
    assert index(rig, COMPLETED).keys() == set(ids)


async def test_the_same_report_twice_is_one_end(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.submit()
    task = await claim_one(worker)
    with listening(rig) as heard:
        for _ in range(2):
            await settle(worker, Completed(task, b"1", 1))
        assert heard.messages() == [f"1 completed {task.id}"]


async def test_a_task_that_is_retried_leaves_the_index(rig: Rig) -> None:
    worker = await rig.worker()
    await cancelled_while_queued(rig, worker)
    await failed(rig, worker)
    for status in (CANCELLED, FAILED):
        [task_id] = index(rig, status)
        await rig.queue.retry(task_id)
        assert index(rig, status) == {}


async def test_what_is_older_than_the_retention_leaves_the_index_by_and_by(rig: Rig) -> None:
    worker = await rig.worker()
    old = {f"old-{n}": n for n in range(1500)}
    rig.raw.zadd(rig.key(f"ended:{TYPE}:completed"), old)
    seen = set()
    for _ in range(2 * 64):
        await completed(rig, worker)
        seen.add(len(index(rig, COMPLETED).keys() & old.keys()))
    assert seen == {1500, 500, 0}
    assert len(index(rig, COMPLETED)) == 2 * 64


async def test_without_the_right_to_publish_tasks_end_all_the_same(rig: Rig) -> None:
    rules = ("on", ">secret", "~*", "&*", "+@all", "-publish")
    rig.raw.execute_command("ACL", "SETUSER", "mute", *rules)
    queue = TaskQueue(rig.server.default_url.replace("redis://", "redis://mute:secret@"))
    worker = queue.consumer(worker_info())
    try:
        await worker.register()
        task_id = await rig.submit()
        await settle(worker, Completed(await claim_one(worker), b"1", 1))
    finally:
        await worker.close()
        await queue.close()
        rig.raw.execute_command("ACL", "DELUSER", "mute")
    assert index(rig, COMPLETED).keys() == {task_id}
    assert rig.raw.hget(rig.key("meta"), "ends") == b"1"

"""The queue without an event loop: the same promises as with one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.taskqueue import (
    BlockingTaskQueue,
    IdempotencyConflict,
    NewTask,
    NotAllowed,
    NotConfirmed,
    NotSent,
    PayloadTooLarge,
    QueueFull,
    TaskInvalid,
    TaskNotFound,
    TaskQueue,
    TaskStatus,
    idempotent_id,
    new_id,
)
from tests.integration.taskqueue.rig import TYPE, Rig, new_task
from tests.servers import RedisServer, free_port


@pytest.fixture
def queue(any_server: RedisServer) -> Iterator[BlockingTaskQueue]:
    with BlockingTaskQueue(any_server.url, max_length=5, max_payload_bytes=1000) as queue:
        yield queue


def keyed(payload: bytes = b"{}", **options: Any) -> NewTask:
    return NewTask(type=TYPE, payload=payload, id=idempotent_id(TYPE, "key"), **options)


async def test_what_it_submits_is_what_the_other_client_submits(any_server: RedisServer) -> None:
    start = datetime.now(UTC) + timedelta(hours=1)
    tasks = [
        new_task(b'{"a": 1}'),
        new_task(b'"' + b"x" * 500 + b'"', max_retries=7),
        NewTask(type=TYPE, payload=b"1", id=new_id(), start_at=start, headers={"h": "v"}),
        keyed(b"[]"),
    ]
    with BlockingTaskQueue(any_server.url) as queue:
        submitted = queue.submit_many(tasks)
        blocking = queue.get_many([task.id for task in tasks])
    any_server.client.flushall()
    other = TaskQueue(any_server.url)
    assert await other.submit_many(tasks) == submitted
    found = await other.get_many([task.id for task in tasks])
    await other.close()
    for mine, theirs in zip(blocking, found, strict=True):
        assert mine is not None
        assert theirs is not None
        assert (mine.id, mine.status, mine.payload) == (theirs.id, theirs.status, theirs.payload)
        assert (mine.max_retries, mine.due_at) == (theirs.max_retries, theirs.due_at)
        assert mine.headers == theirs.headers


async def test_a_worker_runs_what_it_submits(any_rig: Rig) -> None:
    with BlockingTaskQueue(any_rig.server.url) as queue:
        task_id = queue.submit(new_task(b"7")).id
        worker = await any_rig.worker()
        [task] = (await worker.claim(1)).tasks
        assert (task.id, task.payload) == (task_id, b"7")
        assert queue.get(task_id).status is TaskStatus.RUNNING
        assert queue.epoch == worker.epoch


def test_the_same_submit_twice_makes_one_task_and_another_is_a_conflict(
    queue: BlockingTaskQueue,
) -> None:
    assert queue.submit(keyed()).created
    assert not queue.submit(keyed()).created
    with pytest.raises(IdempotencyConflict):
        queue.submit(keyed(b"[]"))


def test_a_full_queue_takes_nothing_more(queue: BlockingTaskQueue) -> None:
    queue.submit_many([new_task() for _ in range(5)])
    with pytest.raises(QueueFull):
        queue.submit(new_task())


def test_what_nobody_could_run_is_refused_before_anything_is_sent(
    queue: BlockingTaskQueue,
) -> None:
    for task in (new_task(task_id="abc"), new_task(b"no JSON"), new_task(task_type="a b")):
        with pytest.raises(TaskInvalid):
            queue.submit(task)
    with pytest.raises(PayloadTooLarge):
        queue.submit(new_task(b'"' + b"x" * 1000 + b'"'))
    with pytest.raises(TaskInvalid):
        queue.submit_many([new_task() for _ in range(1001)])


def test_tasks_are_cancelled(queue: BlockingTaskQueue) -> None:
    task_id = queue.submit(new_task()).id
    assert queue.cancel(task_id) is TaskStatus.CANCELLED
    assert queue.get(task_id).status is TaskStatus.CANCELLED
    with pytest.raises(NotAllowed):
        queue.cancel(task_id)
    for call in (queue.get, queue.cancel):
        with pytest.raises(TaskNotFound):
            call(new_id())
    assert queue.get_many([new_id()]) == [None]


def test_a_submit_counts_only_once_replicas_have_it(server: RedisServer) -> None:
    wary = BlockingTaskQueue(server.url, wait_replicas=1, timeout_seconds=0.4)
    with wary as queue, pytest.raises(NotConfirmed, match="only 0 of 1 replicas"):
        queue.submit(keyed())
    with BlockingTaskQueue(server.url) as queue:
        assert not queue.submit(keyed()).created, "it was accepted all the same"


def test_without_redis_nothing_was_sent() -> None:
    with BlockingTaskQueue(f"redis://127.0.0.1:{free_port()}") as queue:
        for call in (queue.connect, lambda: queue.submit(new_task())):
            with pytest.raises(NotSent):
                call()


def test_threads_may_share_one(server: RedisServer) -> None:
    with BlockingTaskQueue(server.url) as queue:
        tasks = [new_task() for _ in range(500)]
        with ThreadPoolExecutor(8) as threads:
            submitted = list(threads.map(queue.submit, tasks))
        assert [each.id for each in submitted] == [task.id for task in tasks]
        assert all(each.created for each in submitted)

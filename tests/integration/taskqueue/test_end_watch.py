"""Waiting for tasks to end, whatever becomes of the messages that tell of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import pytest

from headrace.taskqueue import Cancelled, Completed, EndWatch, Failed, TaskQueue, TaskStatus, Waiter
from tests.conftest import ServerFactory
from tests.integration.taskqueue.rig import Rig, claim_one, settle, until

COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

NEVER = 3600.0
COMPARE_SECONDS = 0.2


class WatchFactory(Protocol):
    """What the fixture `new_watch` is."""

    def __call__(self, queue: TaskQueue, **options: float) -> EndWatch: ...


@pytest.fixture
async def new_watch() -> AsyncIterator[WatchFactory]:
    watches: list[EndWatch] = []

    def new(queue: TaskQueue, **options: float) -> EndWatch:
        options = {"compare_seconds": COMPARE_SECONDS, "reread_seconds": NEVER, **options}
        watches.append(EndWatch(queue.installation, queue.installation.link(), **options))
        return watches[-1]

    yield new
    for watch in watches:
        await watch.close()
        watch._link.close()
    await asyncio.sleep(0.01)  # the event loop closes the sockets


@pytest.fixture
async def watch(any_rig: Rig, new_watch: WatchFactory) -> EndWatch:
    return new_watch(any_rig.queue)


async def subscribers(rig: Rig) -> int:
    [(_, count)] = rig.raw.pubsub_numsub(rig.key("ends"))
    return int(count)


async def subscribed(rig: Rig) -> None:
    """Wait until it listens, and has read what it waits for."""
    await until(lambda: subscribers(rig), lambda count: count == 1)
    await asyncio.sleep(0.1)


async def heard(waiter: Waiter, seconds: float = 5.0) -> dict[str, TaskStatus | None]:
    """All that is told until nothing more is waited for."""
    found: dict[str, TaskStatus | None] = {}
    async with asyncio.timeout(seconds):
        while waiter.task_ids:
            found |= await waiter.next()
    return found


def end_unheard(rig: Rig, task_id: str) -> None:
    """As a worker of 0.2.0 does it: nothing is published."""
    rig.raw.hset(rig.key(f"task:{task_id}"), "s", "completed")
    rig.raw.expire(rig.key(f"task:{task_id}"), 3600)


async def test_ends_are_told_as_they_come(any_rig: Rig, watch: EndWatch) -> None:
    worker = await any_rig.worker()
    task_ids = await any_rig.submit_many(3, max_retries=0)
    with watch.waiting(task_ids) as waiter:
        await subscribed(any_rig)
        first, second, third = (await worker.claim(3)).tasks
        began = time.monotonic()
        await settle(worker, Completed(first, b"1", 1))
        assert await waiter.next() == {first.id: COMPLETED}
        assert time.monotonic() - began < COMPARE_SECONDS
        await settle(worker, Failed(second, "no", 0, 1), Cancelled(third, 1))
        assert await heard(waiter) == {second.id: FAILED, third.id: CANCELLED}
    assert watch.gaps == 0


async def test_what_had_ended_before_is_told_at_once_and_what_has_no_record_too(
    any_rig: Rig, watch: EndWatch
) -> None:
    ended, waits = await any_rig.submit_many(2)
    await any_rig.queue.cancel(ended)
    with watch.waiting([ended, "nowhere", waits]) as waiter:
        async with asyncio.timeout(1.0):
            ends = await waiter.next()
            while len(ends) < 2:
                ends |= await waiter.next()
        assert ends == {ended: CANCELLED, "nowhere": None}
        assert waiter.task_ids == {waits}


async def test_each_of_many_waiters_hears_of_its_own(rig: Rig, new_watch: WatchFactory) -> None:
    watch = new_watch(rig.queue)
    a, b = await rig.submit_many(2)
    with watch.waiting([a]) as first, watch.waiting([a, b]) as second:
        await subscribed(rig)
        await rig.queue.cancel(a)
        assert await heard(first) == {a: CANCELLED}
        await rig.queue.cancel(b)
        assert await heard(second) == {a: CANCELLED, b: CANCELLED}


async def test_it_is_subscribed_only_while_somebody_waits(any_rig: Rig, watch: EndWatch) -> None:
    task_id = await any_rig.submit()
    for _ in range(2):
        assert await subscribers(any_rig) == 0
        with watch.waiting([task_id]):
            await until(lambda: subscribers(any_rig), lambda count: count == 1)
            with watch.waiting(["nowhere"]):
                pass
            assert await subscribers(any_rig) == 1
        await until(lambda: subscribers(any_rig), lambda count: count == 0)


def lost_message(rig: Rig) -> None:
    """It was counted, and never came."""
    rig.raw.hincrby(rig.key("meta"), "ends", 1)


def skipped_message(rig: Rig) -> None:
    """The next one that came has a higher number than the next."""
    rig.raw.publish(rig.key("ends"), "7 completed nobody")


def lost_connection(rig: Rig) -> None:
    rig.raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


@pytest.mark.parametrize("misfortune", [lost_message, lost_connection])
async def test_what_ended_unheard_is_read_after_a_gap(
    any_rig: Rig, watch: EndWatch, misfortune: Callable[[Rig], None]
) -> None:
    task_id = await any_rig.submit()
    with watch.waiting([task_id]) as waiter:
        await subscribed(any_rig)
        end_unheard(any_rig, task_id)
        misfortune(any_rig)
        assert await heard(waiter) == {task_id: COMPLETED}
    assert watch.gaps == 1


async def test_a_message_with_a_later_number_tells_of_a_gap_at_once(
    any_rig: Rig, new_watch: WatchFactory
) -> None:
    watch = new_watch(any_rig.queue, compare_seconds=NEVER)
    task_id = await any_rig.submit()
    with watch.waiting([task_id]) as waiter:
        await subscribed(any_rig)
        end_unheard(any_rig, task_id)
        skipped_message(any_rig)
        assert await heard(waiter, seconds=2.0) == {task_id: COMPLETED}
    assert watch.gaps == 1


async def test_after_a_gap_it_hears_again(any_rig: Rig, watch: EndWatch) -> None:
    first, second = await any_rig.submit_many(2)
    with watch.waiting([first, second]) as waiter:
        await subscribed(any_rig)
        lost_connection(any_rig)
        await until(lambda: subscribers(any_rig), lambda count: count == 0)
        await any_rig.queue.cancel(first)
        assert await waiter.next() == {first: CANCELLED}
        await subscribed(any_rig)
        began = time.monotonic()
        await any_rig.queue.cancel(second)
        assert await waiter.next() == {second: CANCELLED}
        assert time.monotonic() - began < COMPARE_SECONDS


async def test_what_is_never_published_is_read_by_and_by(rig: Rig, new_watch: WatchFactory) -> None:
    watch = new_watch(rig.queue, reread_seconds=0.5)
    task_id = await rig.submit()
    with watch.waiting([task_id]) as waiter:
        await subscribed(rig)
        end_unheard(rig, task_id)
        assert await heard(waiter, seconds=2.0) == {task_id: COMPLETED}
    assert watch.gaps == 0


async def test_a_restart_of_redis_costs_no_end(
    new_server: ServerFactory, new_watch: WatchFactory
) -> None:
    rig = Rig(new_server(appendfsync="always"))
    watch = new_watch(rig.queue)
    task_ids = await rig.submit_many(3)
    try:
        with watch.waiting(task_ids) as waiter:
            await subscribed(rig)
            rig.server.kill()
            await asyncio.sleep(2 * COMPARE_SECONDS)
            rig.server.start()
            end_unheard(rig, task_ids[0])
            assert await waiter.next() == {task_ids[0]: COMPLETED}
            await subscribed(rig)
            await rig.queue.cancel(task_ids[1])
            assert await waiter.next() == {task_ids[1]: CANCELLED}
            assert waiter.task_ids == {task_ids[2]}
    finally:
        await watch.close()
        await rig.close()


async def test_tasks_that_redis_has_lost_are_waited_for_no_more(
    rig: Rig, new_watch: WatchFactory
) -> None:
    watch = new_watch(rig.queue)
    worker = await rig.worker()
    await rig.submit()
    await settle(worker, Completed(await claim_one(worker), b"1", 1))
    task_id = await rig.submit()
    with watch.waiting([task_id]) as waiter:
        await subscribed(rig)
        rig.raw.flushall()
        assert await heard(waiter) == {task_id: None}


async def test_without_the_right_to_subscribe_records_are_read(
    rig: Rig, new_watch: WatchFactory
) -> None:
    rules = ("on", ">secret", "~*", "&*", "+@all", "-subscribe")
    rig.raw.execute_command("ACL", "SETUSER", "deaf", *rules)
    queue = TaskQueue(rig.server.default_url.replace("redis://", "redis://deaf:secret@"))
    watch = new_watch(queue)
    task_id = await rig.submit()
    try:
        with watch.waiting([task_id]) as waiter:
            await asyncio.sleep(COMPARE_SECONDS)
            await rig.queue.cancel(task_id)
            assert await heard(waiter, seconds=2.0) == {task_id: CANCELLED}
    finally:
        await watch.close()
        await queue.close()
        rig.raw.execute_command("ACL", "DELUSER", "deaf")


async def test_many_records_are_read_by_500(
    rig: Rig, new_watch: WatchFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = new_watch(rig.queue)
    sizes = []
    call_together = watch._link.call_together

    async def counted(commands: Sequence[Any]) -> list[Any]:
        sizes.append(len(commands))
        return await call_together(commands)

    monkeypatch.setattr(watch._link, "call_together", counted)
    task_ids = await rig.submit_many(1200)
    for task_id in task_ids:
        end_unheard(rig, task_id)
    with watch.waiting(task_ids) as waiter:
        assert await heard(waiter) == dict.fromkeys(task_ids, COMPLETED)
    assert max(sizes) == 500

"""A queue on a real server, its workers, and the means to see and bend what lies in Redis.

Time is bent, not waited for: a lease is expired by rewriting its end, a delayed task made due by
rewriting its time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from headrace.taskqueue import (
    Claim,
    ClaimedTask,
    Completed,
    Consumer,
    NewTask,
    QueueStats,
    Renewal,
    Renewer,
    RunningTask,
    Settlement,
    TaskQueue,
    TaskStatus,
    TypeInfo,
    WorkerInfo,
    new_id,
)
from tests.servers import RedisServer

T = TypeVar("T")

TYPE = "report"
PREFIX = "{headrace}:"


def new_task(
    payload: bytes = b"{}",
    *,
    task_type: str = TYPE,
    task_id: str | None = None,
    max_retries: int = 3,
    delay_seconds: float | None = None,
    **options: Any,
) -> NewTask:
    """A task to submit; `options`: headers, tags, options_needed."""
    start = None
    if delay_seconds is not None:
        start = datetime.now(UTC) + timedelta(seconds=delay_seconds)
    return NewTask(
        type=task_type,
        payload=payload,
        id=task_id or new_id(),
        max_retries=max_retries,
        start_at=start,
        **options,
    )


def worker_info(worker_id: str = "w1", queues: Sequence[str] = (TYPE,)) -> WorkerInfo:
    return WorkerInfo(
        id=worker_id,
        host="host",
        pod=None,
        pid=1,
        version="1",
        queues=list(queues),
        concurrency=10,
        started_at_ms=1_700_000_000_000,
    )


def running(task: ClaimedTask, *, timed_out: bool = False) -> RunningTask:
    return RunningTask(
        id=task.id,
        type=task.type,
        fence=task.fence,
        attempt=task.attempt,
        started_at_ms=task.started_at_ms,
        timed_out=timed_out,
    )


async def until(
    look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], seconds: float = 5.0
) -> T:
    """Look again and again until it is as wanted; AssertionError after so long."""
    deadline = time.monotonic() + seconds
    while True:
        seen = await look()
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen!r} after {seconds:g} s"
        await asyncio.sleep(0.01)


class Rig:
    """One installation of the queue on one server. Options are those of TaskQueue."""

    def __init__(self, server: RedisServer, **options: Any) -> None:
        self.server = server
        self.raw: Any = server.client
        self.options = options
        self.queue = TaskQueue(server.url, **options)
        self._queues = [self.queue]
        self._consumers: list[Consumer] = []
        self._renewers: dict[Consumer, Renewer] = {}

    def another_queue(self, **options: Any) -> TaskQueue:
        """Another client of the same installation."""
        queue = TaskQueue(self.server.url, **{**self.options, **options})
        self._queues.append(queue)
        return queue

    async def worker(
        self,
        worker_id: str = "w1",
        queues: Sequence[str] = (TYPE,),
        types: Sequence[TypeInfo] = (),
    ) -> Consumer:
        """A registered worker."""
        consumer = self.queue.consumer(worker_info(worker_id, queues), types)
        self._consumers.append(consumer)
        await consumer.register()
        return consumer

    def renewer(self, consumer: Consumer) -> Renewer:
        """The worker's heartbeat."""
        if consumer not in self._renewers:
            self._renewers[consumer] = consumer.renewer()
        return self._renewers[consumer]

    async def close(self) -> None:
        for renewer in self._renewers.values():
            renewer.close()
        for consumer in self._consumers:
            await consumer.close()
        for queue in self._queues:
            await queue.close()
        # Transports are closed in the loop's next round.
        await asyncio.sleep(0)

    # Short ways

    async def submit(self, payload: bytes = b"{}", **options: Any) -> str:
        """Submit one task (see `new_task`); returns its id."""
        return (await self.queue.submit(new_task(payload, **options))).id

    async def submit_many(self, count: int, **options: Any) -> list[str]:
        """Submit so many, a thousand at a time; returns their ids in order."""
        ids: list[str] = []
        for start in range(0, count, 1000):
            batch = [new_task(**options) for _ in range(min(1000, count - start))]
            ids += [submitted.id for submitted in await self.queue.submit_many(batch)]
        return ids

    async def status(self, task_id: str) -> TaskStatus:
        return (await self.queue.get(task_id)).status

    async def stats(self, task_type: str = TYPE) -> QueueStats:
        return (await self.queue.stats([task_type])).queues[task_type]

    async def length(self, task_type: str = TYPE) -> int:
        return (await self.stats(task_type)).queue_length

    # Bending

    def key(self, name: str) -> str:
        return PREFIX + name

    def now_ms(self) -> int:
        seconds, microseconds = self.raw.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def expire_lease(self, *tasks: ClaimedTask) -> None:
        """As if the worker had been silent for a lease, while Redis was there all the time."""
        self.raw.hset(self.key("meta"), "seen", self.now_ms())
        for task in tasks:
            member = f"{task.id}:{task.fence}"
            changed = self.raw.zadd(
                self.key(f"leases:{task.type}"), {member: self.now_ms() - 1}, xx=True, ch=True
            )
            assert changed == 1, "nobody holds this lease"

    def make_due(self, task_id: str, task_type: str = TYPE) -> None:
        """As if a delayed task's time had come."""
        due = self.now_ms() - 1
        changed = [
            self.raw.zadd(self.key(f"{index}:{task_type}"), {task_id: due}, xx=True, ch=True)
            for index in ("delayed", "retries")
        ]
        assert sum(changed) == 1, "this task is not delayed"

    def redis_was_away(self, milliseconds: int) -> None:
        """As if nothing had looked after the leases for so long."""
        self.raw.hset(self.key("meta"), "seen", self.now_ms() - milliseconds)

    def field(self, task_id: str, name: str) -> bytes | None:
        value: bytes | None = self.raw.hget(self.key(f"task:{task_id}"), name)
        return value


async def claim_one(consumer: Consumer) -> ClaimedTask:
    """Claim exactly one."""
    claim = await consumer.claim(1)
    assert len(claim.tasks) == 1, "there was nothing to claim"
    return claim.tasks[0]


async def settle(consumer: Consumer, *settlements: Settlement) -> list[TaskStatus | None]:
    statuses, claim = await consumer.settle(settlements)
    assert claim is None
    return statuses


async def complete(consumer: Consumer, task: ClaimedTask, result: bytes = b"null") -> TaskStatus:
    """Finish a task that must still be held."""
    [status] = await settle(consumer, Completed(task, result, 1))
    assert status is not None, "the lease was lost"
    return status


async def renew(
    rig: Rig,
    consumer: Consumer,
    held: Sequence[ClaimedTask] = (),
    *,
    busy: Sequence[RunningTask] | None = None,
    settled_request: int | None = None,
) -> Renewal:
    """One heartbeat, in a thread as in a worker. All that is held runs unless `busy` is given."""
    renewer = rig.renewer(consumer)
    request = consumer.settled_request if settled_request is None else settled_request
    slots = [running(task) for task in held] if busy is None else busy
    return await asyncio.to_thread(renewer.renew, held, slots, request)


def ids(claim: Claim | None) -> list[str]:
    assert claim is not None
    return [task.id for task in claim.tasks]


async def blocked(rig: Rig, count: int) -> None:
    """Wait until so many clients block."""

    async def look() -> int:
        return int(rig.raw.info("clients")["blocked_clients"])

    await until(look, lambda seen: seen == count)


async def waiting(
    rig: Rig, workers: Sequence[Consumer], limit: int = 1, seconds: float = 5
) -> list[asyncio.Future[Claim]]:
    """Each of the workers waits for something to claim."""
    claims: list[asyncio.Future[Claim]] = []
    for n, worker in enumerate(workers, 1):
        claims.append(asyncio.ensure_future(worker.wait_and_claim(limit, seconds)))
        await blocked(rig, n)
    return claims

"""What the long scenarios share: sites of their own, a common start, and probes.

The scenarios spend their time waiting, so all of them run at once, each in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import httpx2

from headrace.taskqueue import MAX_BATCH, NewTask, QueueUnavailable, Task, TaskQueue, new_id
from tests.chaos.processes import START_SECONDS, Process, Site, site, until
from tests.keyspace import indexed, unexpected_keys
from tests.servers import RedisServer, default_kind, free_port

OUTAGE_SECONDS = 30.0


class StartLine:
    """Scenarios wait here until all have started their processes: starting takes the whole CPU."""

    def __init__(self, scenarios: int) -> None:
        self._barrier = threading.Barrier(scenarios)

    async def reached(self) -> None:
        """Wait for the others; not for one that has failed before it came here."""
        with contextlib.suppress(threading.BrokenBarrierError):
            await asyncio.to_thread(self._barrier.wait, 3 * START_SECONDS)

    def gone(self) -> None:
        """A scenario has ended, perhaps before it came here: nobody shall wait for it."""
        self._barrier.abort()


class Lab:
    """A scenario's place to work."""

    def __init__(self, folder: Path, line: StartLine) -> None:
        self._folder = folder
        self._line = line
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def site(self, *, appendfsync: str | None = None, **settings: str) -> Iterator[Site]:
        """A Redis server of its own and what works with it."""
        folder = self._folder / str(next(self._numbers))
        server = RedisServer(default_kind(), folder / "redis", appendfsync=appendfsync)
        with site(folder, server, **settings) as made:
            yield made

    async def all_set(self) -> None:
        """Say that this scenario is ready, and wait until all are."""
        await self._line.reached()


Scenario: TypeAlias = Callable[[Lab], Awaitable[str]]
"""It asserts what must hold, and returns its figures."""


@contextlib.asynccontextmanager
async def queue_of(here: Site, lease_seconds: float = 15.0) -> AsyncIterator[TaskQueue]:
    """A client of a site's queue."""
    queue = TaskQueue(here.server.url, lease_seconds=lease_seconds)
    try:
        yield queue
    finally:
        await queue.close()


def tasks_of(task_type: str, payload: str, count: int = 1) -> list[NewTask]:
    """New tasks, all alike."""
    return [NewTask(type=task_type, payload=payload.encode(), id=new_id()) for _ in range(count)]


async def submitted(queue: TaskQueue, tasks: list[NewTask]) -> list[str]:
    """Submit tasks; returns their ids."""
    for start in range(0, len(tasks), MAX_BATCH):
        await queue.submit_many(tasks[start : start + MAX_BATCH])
    return [task.id for task in tasks]


async def records(queue: TaskQueue, ids: list[str]) -> list[Task]:
    """The tasks' records; all must be there."""
    found: list[Task] = []
    for start in range(0, len(ids), MAX_BATCH):
        chunk = ids[start : start + MAX_BATCH]
        for task_id, task in zip(chunk, await queue.get_many(chunk), strict=True):
            assert task is not None, f"{task_id} has no record"
            found.append(task)
    return found


async def all_final(queue: TaskQueue, ids: list[str], seconds: float) -> list[Task]:
    """The tasks' records, once all have ended."""

    async def look() -> list[Task] | None:
        try:
            tasks = await records(queue, ids)
        except QueueUnavailable:
            return None
        return tasks if all(task.status.final for task in tasks) else None

    found: list[Task] = await until(look, seconds, f"the end of {len(ids)} tasks")
    return found


def assert_tidy(server: RedisServer) -> None:
    """No index holds anything, and no key lacks its expiry."""
    assert indexed(server) == []
    assert unexpected_keys(server) == []


class Probed:
    """Asks a worker's probes every second while the block runs; each answer must be a 200."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: dict[str, list[tuple[float, int, str]]] = {"/healthz": [], "/readyz": []}

    @property
    def setting(self) -> dict[str, str]:
        """What the worker has to be started with."""
        return {"PROBE_PORT": str(self.port), "PROBE_HOST": "127.0.0.1"}

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Ask, as the kubelet does, until the block ends."""
        asking = asyncio.create_task(self._ask())
        try:
            yield
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    async def _ask(self) -> None:
        async with httpx2.AsyncClient(timeout=5.0) as client:
            while True:
                for path, answers in self.answers.items():
                    reply = await client.get(f"http://127.0.0.1:{self.port}{path}")
                    answers.append((time.monotonic(), reply.status_code, reply.text.strip()))
                await asyncio.sleep(1.0)

    @property
    def red(self) -> list[tuple[float, int, str]]:
        """The answers that were no 200."""
        return [
            answer for answers in self.answers.values() for answer in answers if answer[1] != 200
        ]

    @property
    def count(self) -> int:
        """How many answers there were."""
        return sum(len(answers) for answers in self.answers.values())


async def begun(here: Site, ids: list[str], seconds: float = 30.0) -> None:
    """Wait until every one of these tasks has begun."""

    def look() -> bool:
        return set(ids) <= {run.id for run in here.runs() if run.event == "begin"}

    await until(look, seconds, f"the start of {len(ids)} tasks")


def pids(workers: list[Process]) -> set[int]:
    """The workers' process ids."""
    return {worker.pid for worker in workers}

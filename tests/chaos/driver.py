"""The chaos run: producers submit, workers run, and something breaks every half second.

`Chaos(site, plan).run()` returns a `Report`; what must hold of it is for the tests to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from headrace.taskqueue import (
    MAX_BATCH,
    MAX_CRASHES,
    NewTask,
    QueueStats,
    QueueUnavailable,
    Task,
    TaskQueue,
    TaskStatus,
    new_id,
)
from tests.chaos.processes import Process, Site, until

WORKERS = 6
SLOTS = 5
PRODUCERS = 4
TYPES = ("work", "work_sync")
PEACE_LEASES = 3
"""So long after the last fault stock is taken: killed workers count as gone after two leases."""

PERIOD_SECONDS = 0.5
LONGEST_OUTAGE_SECONDS = 0.5
UNSYNCED_SECONDS = 1.0
LOOK_SECONDS = 0.25
FAULTS_AFTERWARDS_SECONDS = 30.0
"""Faults go on for so long after the last submit, or until the last task has ended."""
PEACE_SECONDS = 60.0


class Fault(StrEnum):
    """What breaks."""

    KILL = "workers killed"
    STOP = "workers stopped past their lease"
    RESTART = "Redis killed and restarted"
    CUT = "connections cut"


@dataclass(frozen=True)
class Plan:
    """How much, how fast, and by which dice."""

    seed: int
    tasks: int = 20_000
    tasks_per_second: int = 500
    lease_seconds: float = 2.0
    faults: frozenset[Fault] = frozenset(Fault)
    power_cut: bool = False
    """Redis loses with each kill what it wrote in the second before, as if the power had failed:
    what `appendfsync everysec` has not synced yet."""


@dataclass
class Report:
    """What happened, and what is left."""

    seed: int
    faults: Counter[Fault] = field(default_factory=Counter)
    acknowledged: int = 0
    completed: int = 0
    excused: list[Task] = field(default_factory=list)
    """Failed because their lease ended more than MAX_CRASHES times."""
    lost: list[str] = field(default_factory=list)
    """Acknowledged, and neither completed nor excused."""
    stuck: list[str] = field(default_factory=list)
    """There is a record, and it will never end: no index names it."""
    wrong_results: list[str] = field(default_factory=list)
    runs: int = 0
    duplicates: int = 0
    """Tasks whose handler ended more than once."""
    begun_again: int = 0
    """Tasks whose handler began more than once."""
    crashes: int = 0
    """Leases that ended by themselves."""
    totals: dict[str, QueueStats] = field(default_factory=dict)
    longest_stall_seconds: float = 0.0
    """Without any task completed while some waited; outages of Redis are part of it."""
    seconds: float = 0.0

    def __str__(self) -> str:
        faults = ", ".join(f"{self.faults[fault]} × {fault}" for fault in Fault)
        return (
            f"seed {self.seed}: {self.acknowledged} acknowledged, {self.completed} completed, "
            f"{len(self.lost)} lost, {len(self.excused)} failed after more than {MAX_CRASHES} "
            f"lost leases, in {self.seconds:.0f} s\n"
            f"  faults: {faults}\n"
            f"  {self.runs} runs ended, {self.duplicates} tasks ran to their end more than once, "
            f"{self.begun_again} began more than once; {self.crashes} leases ended by themselves; "
            f"longest stall {self.longest_stall_seconds:.1f} s"
        )


class Chaos:
    """One run on a site."""

    def __init__(self, site: Site, plan: Plan) -> None:
        self._site = site
        self._plan = plan
        self._settings = {
            "LEASE_SECONDS": str(plan.lease_seconds),
            "MAX_WORKERS": str(SLOTS),
            "QUEUES": ",".join(TYPES),
        }
        self._dice = random.Random(plan.seed)
        self._workers: list[Process] = []
        self._acknowledged: list[str] = []
        self._redis_is_there = True
        self._aftermath: set[asyncio.Task[None]] = set()
        self._file_sizes: list[tuple[float, Path, int]] = []
        self._report = Report(plan.seed)

    async def run(self) -> Report:
        """All of it: the faults end when the last task has."""
        self._workers = await self._site.workers(WORKERS, **self._settings)
        began = time.monotonic()
        async with self._queue() as queue:
            producers = [asyncio.create_task(self._produce(n)) for n in range(PRODUCERS)]
            others = [asyncio.create_task(self._watch(queue))]
            if self._plan.power_cut:
                others.append(asyncio.create_task(self._note_file_sizes()))
            breaking = asyncio.create_task(self._break_things())
            try:
                await asyncio.gather(*producers)
                await self._work_on_under_faults(queue)
            finally:
                await _cancelled(breaking, *producers)
                await asyncio.gather(*self._aftermath)
            # In peace: what was lost from sight until now has to come back.
            await asyncio.sleep(PEACE_LEASES * self._plan.lease_seconds)
            await until(lambda: self._nothing_left(queue), PEACE_SECONDS, "an empty queue")
            await _cancelled(*others)
            self._report.seconds = time.monotonic() - began
            await self._take_stock(queue)
        return self._report

    async def _work_on_under_faults(self, queue: TaskQueue) -> None:
        """Until nothing is left; on a slow machine not for ever."""
        end = time.monotonic() + FAULTS_AFTERWARDS_SECONDS
        while not await self._nothing_left(queue):
            if time.monotonic() > end:
                return
            await asyncio.sleep(LOOK_SECONDS)

    # Producers

    async def _produce(self, number: int) -> None:
        """Submit a share of the tasks, each until it is acknowledged."""
        dice = random.Random(self._plan.seed * PRODUCERS + number)
        count = self._plan.tasks // PRODUCERS
        pause = PRODUCERS / self._plan.tasks_per_second
        next_at = time.monotonic()
        async with self._queue() as queue, asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._submit(queue, _any_task(dice)))
                next_at += pause
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def _submit(self, queue: TaskQueue, task: NewTask) -> None:
        while True:
            try:
                await queue.submit(task)
            except QueueUnavailable:
                await asyncio.sleep(0.05)
            else:
                self._acknowledged.append(task.id)
                return

    # Faults

    async def _break_things(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            possible = self._possible()
            if not possible:
                continue
            fault = self._dice.choice(possible)
            self._report.faults[fault] += 1
            match fault:
                case Fault.KILL:
                    await self._kill_a_worker()
                case Fault.STOP:
                    self._afterwards(self._stop_a_worker())
                case Fault.RESTART:
                    self._afterwards(self._restart_redis())
                case Fault.CUT:
                    await asyncio.to_thread(self._site.server.cut_connections)

    def _possible(self) -> list[Fault]:
        possible = {Fault.KILL}
        if sum(not worker.paused for worker in self._workers) > 1:
            possible.add(Fault.STOP)
        if self._redis_is_there:
            possible |= {Fault.RESTART, Fault.CUT}
        return [fault for fault in Fault if fault in possible & self._plan.faults]

    async def _kill_a_worker(self) -> None:
        place = self._dice.randrange(WORKERS)
        await asyncio.to_thread(self._workers[place].kill)
        self._workers[place] = self._site.worker(**self._settings)

    async def _stop_a_worker(self) -> None:
        worker = self._dice.choice(
            [candidate for candidate in self._workers if not candidate.paused]
        )
        seconds = self._plan.lease_seconds * self._dice.uniform(1.1, 2.0)
        worker.pause()
        await asyncio.sleep(seconds)
        worker.resume()

    async def _restart_redis(self) -> None:
        self._redis_is_there = False
        seconds = self._dice.uniform(0, LONGEST_OUTAGE_SECONDS)
        await asyncio.to_thread(self._site.server.kill)
        if self._plan.power_cut:
            self._lose_what_was_not_synced()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._site.server.start)
        self._redis_is_there = True

    def _afterwards(self, work: Coroutine[Any, Any, None]) -> None:
        """A fault with an end of its own: it is waited for before stock is taken."""
        task = asyncio.create_task(work)
        self._aftermath.add(task)

    async def _note_file_sizes(self) -> None:
        """How long the append-only file was at each moment."""
        while True:
            for file in self._site.server.folder.rglob("*.aof"):
                self._file_sizes.append((time.monotonic(), file, file.stat().st_size))
            await asyncio.sleep(0.05)

    def _lose_what_was_not_synced(self) -> None:
        synced = time.monotonic() - UNSYNCED_SECONDS
        sizes = {file: size for at, file, size in self._file_sizes if at <= synced}
        for file, size in sizes.items():
            with file.open("r+b") as opened:
                opened.truncate(size)
        self._file_sizes.clear()

    # Watching

    async def _watch(self, queue: TaskQueue) -> None:
        """Note the longest time in which nothing was completed although there was work."""
        report = self._report
        completed, since, had_work = -1, time.monotonic(), False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(QueueUnavailable):
                stats = await self._stats(queue)
                total, now = sum(queue.completions_total for queue in stats), time.monotonic()
                if had_work:
                    stall = now - since
                    report.longest_stall_seconds = max(report.longest_stall_seconds, stall)
                had_work = any(queue.queue_length for queue in stats)
                if total != completed or not had_work:
                    completed, since = total, now

    async def _nothing_left(self, queue: TaskQueue) -> bool:
        try:
            stats = await self._stats(queue)
        except QueueUnavailable:
            return False
        return not any(queue.queue_length or queue.running or queue.delayed for queue in stats)

    @staticmethod
    async def _stats(queue: TaskQueue) -> list[QueueStats]:
        return list((await queue.stats(TYPES)).queues.values())

    @contextlib.asynccontextmanager
    async def _queue(self) -> AsyncIterator[TaskQueue]:
        queue = TaskQueue(self._site.server.url, lease_seconds=self._plan.lease_seconds)
        try:
            yield queue
        finally:
            await queue.close()

    # Taking stock

    async def _take_stock(self, queue: TaskQueue) -> None:
        report, ids = self._report, self._acknowledged
        report.acknowledged = len(ids)
        report.totals = {n: s for n, s in (await queue.stats(TYPES)).queues.items() if n in TYPES}
        report.crashes = sum(queue.crashes_total for queue in report.totals.values())
        for start in range(0, len(ids), MAX_BATCH):
            chunk = ids[start : start + MAX_BATCH]
            for task_id, task in zip(chunk, await queue.get_many(chunk), strict=True):
                self._judge(task_id, task)
        runs = self._site.runs()
        ends = Counter(run.id for run in runs if run.event == "end")
        begins = Counter(run.id for run in runs if run.event == "begin")
        report.runs = ends.total()
        report.duplicates = sum(count > 1 for count in ends.values())
        report.begun_again = sum(count > 1 for count in begins.values())

    def _judge(self, task_id: str, task: Task | None) -> None:
        report = self._report
        if task is not None and task.status is TaskStatus.COMPLETED:
            report.completed += 1
            if task.result != f'{{"done":"{task_id}"}}'.encode():
                report.wrong_results.append(task_id)
        elif (
            task is not None
            and task.status is TaskStatus.FAILED
            and task.crash_count > MAX_CRASHES
            and task.retry_count == 0
        ):
            report.excused.append(task)
        else:
            report.lost.append(task_id)
            if task is not None:
                report.stuck.append(task_id)


def _any_task(dice: random.Random) -> NewTask:
    """Mostly short; one in a hundred is there long enough to be met by a fault."""
    seconds = dice.uniform(0.2, 1.0) if dice.random() < 0.01 else dice.uniform(0, 0.01)
    task_type = TYPES[dice.random() < 0.25]
    return NewTask(type=task_type, payload=f'{{"seconds":{seconds:.4f}}}'.encode(), id=new_id())


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    """End tasks that never end by themselves; one that has failed fails this."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result

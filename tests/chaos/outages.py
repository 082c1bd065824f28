"""Scenarios in which Redis goes away: refusing, hanging, or with all its data lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial

from headrace.taskqueue import TaskStatus
from tests.chaos.lab import (
    OUTAGE_SECONDS,
    Lab,
    Probed,
    Scenario,
    all_final,
    assert_tidy,
    begun,
    pids,
    queue_of,
    submitted,
    tasks_of,
)
from tests.chaos.load import WORK_SECONDS, Answer, Load, counted
from tests.chaos.processes import Process, Site, until
from tests.servers import RedisServer

ANSWER_SECONDS = 3.0
BACK_SECONDS = 5.0
BETWEEN_SECONDS = 4.0
CALM_SECONDS = 15.0
"""Some of the other scenarios begin with much work, and the answers are timed here."""
LONG_SECONDS = 120.0
OUTAGES = 4
GIVE_UP_SECONDS = 30.0

Switch = tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]
REFUSES: Switch = (RedisServer.terminate, RedisServer.start)
HANGS: Switch = (RedisServer.pause, RedisServer.resume)
DIES: Switch = (RedisServer.kill, RedisServer.start)


async def redis_gone_under_load(lab: Lab, switch: Switch) -> str:
    """The API answers all along, nothing is lost, and all workers work soon after."""
    off, on = switch
    with lab.site(appendfsync="always", QUEUES="work,workflow_execute") as here:
        workers = await here.workers(3)
        _, url = await here.api()
        load = Load(url, seed=1)
        await lab.all_set()
        await asyncio.sleep(CALM_SECONDS)
        async with load.running():
            await asyncio.sleep(5)
            gone = time.monotonic()
            await asyncio.to_thread(off, here.server)
            await asyncio.sleep(OUTAGE_SECONDS)
            await asyncio.to_thread(on, here.server)
            back = time.monotonic()
            all_work_after = await _all_work(here, workers)
            await asyncio.sleep(3)
        away = load.between(gone + 1, back)
        _assert_answered(load, away, gone)
        async with queue_of(here) as queue:
            tasks = await all_final(queue, load.acknowledged, 30)
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        assert all_work_after < BACK_SECONDS
        assert_tidy(here.server)
        return (
            f"{len(load.answers)} requests, the slowest {load.slowest.seconds:.2f} s "
            f"({load.slowest.call}), {len(load.acknowledged)} acknowledged, none lost; "
            f"all workers at work {all_work_after:.1f} s after; while away: {counted(away)}"
        )


async def _all_work(here: Site, workers: list[Process]) -> float:
    """Seconds from now until each worker has begun a task."""
    began, back = time.monotonic(), time.time()

    def look() -> bool:
        at_work = {run.pid for run in here.runs() if run.event == "begin" and run.at > back}
        return pids(workers) <= at_work

    await until(look, 4 * BACK_SECONDS, "all workers at work again")
    return time.monotonic() - began


def _assert_answered(load: Load, away: list[Answer], gone: float) -> None:
    assert {answer.status for answer in load.answers} <= {200, 202, 503}
    late = [
        (answer.call, answer.status, f"{answer.at - gone:.1f} s into the outage", answer.seconds)
        for answer in load.answers
        if answer.seconds > ANSWER_SECONDS + WORK_SECONDS
    ]
    assert late == []
    executed = [answer for answer in away if answer.call in ("execute", "work")]
    inline = [answer for answer in executed if answer.status == 200]
    assert len(inline) > 0.9 * len(executed), counted(away)
    assert all(answer.body["execution"] == "inline" for answer in inline)
    assert all(answer.status == 200 for answer in load.answers if answer.call == "ready")
    assert all(answer.status == 503 for answer in away if answer.call == "stats")


async def long_tasks_through_outages(lab: Lab, switches: list[Switch], *, kept: bool) -> str:
    """One task of 120 s per worker: each runs once, no crash is counted, its result is kept."""
    probes = [Probed() for _ in range(3)]
    with lab.site(appendfsync="always" if kept else None, QUEUES="work", MAX_WORKERS="1") as here:
        workers = [here.worker(**probe.setting) for probe in probes]
        for worker in workers:
            await worker.logged("worker.started")
        await lab.all_set()
        async with queue_of(here) as queue, contextlib.AsyncExitStack() as stack:
            work = tasks_of("work", f'{{"seconds":{LONG_SECONDS}}}', len(workers))
            ids = await submitted(queue, work)
            await begun(here, ids)
            for probe in probes:
                await stack.enter_async_context(probe.watching())
            for off, on in switches:
                await asyncio.to_thread(off, here.server)
                await asyncio.sleep(OUTAGE_SECONDS)
                await asyncio.to_thread(on, here.server)
                await asyncio.sleep(BETWEEN_SECONDS)
            tasks = await all_final(queue, ids, BACK_SECONDS)
        for task in tasks:
            assert (task.status, task.crash_count, task.retry_count, task.result) == (
                TaskStatus.COMPLETED,
                0,
                0,
                f'{{"done":"{task.id}"}}'.encode(),
            )
        runs = [here.begun(task_id) for task_id in ids]
        assert [len(run) for run in runs] == [1] * len(workers)
        assert {run.pid for [run] in runs} == pids(workers)
        assert [probe.red for probe in probes] == [[]] * len(probes)
        assert_tidy(here.server)
        asked = sum(probe.count for probe in probes)
        return (
            f"{len(ids)} tasks of {LONG_SECONDS:g} s through {len(switches)} outages: one run "
            f"each, no crash, results kept; {asked} probes, all green"
        )


async def what_cannot_be_reported(lab: Lab) -> str:
    """Terminating, nothing running, Redis unreachable for 30 s: exit 1, and the log says what."""
    with lab.site(QUEUES="work") as here:
        [worker] = await here.workers(1)
        await lab.all_set()
        async with queue_of(here) as queue:
            [task_id] = await submitted(queue, tasks_of("work", '{"seconds":3}'))
            await begun(here, [task_id])
        await asyncio.to_thread(here.server.kill)
        worker.terminate()
        await until(lambda: len(here.runs()) == 2, 10, "the end of the task")
        ended = time.monotonic()
        status = await worker.exit_status(2 * GIVE_UP_SECONDS)
        waited = time.monotonic() - ended
        assert status == 1
        [line] = worker.lines("worker.unreported")
        assert line["tasks"] == [{"task_id": task_id, "type": "work", "ended": "completed"}]
        assert GIVE_UP_SECONDS - 1 < waited < GIVE_UP_SECONDS + 5
        return f"exit 1 after {waited:.1f} s, the log names the task"


SCENARIOS: dict[str, Scenario] = {
    "redis-refuses-under-load": partial(redis_gone_under_load, switch=REFUSES),
    "redis-hangs-under-load": partial(redis_gone_under_load, switch=HANGS),
    "long-tasks-through-outages": partial(
        long_tasks_through_outages, switches=[REFUSES, HANGS] * (OUTAGES // 2), kept=True
    ),
    "long-tasks-through-lost-data": partial(
        long_tasks_through_outages, switches=[DIES] * OUTAGES, kept=False
    ),
    "unreported": what_cannot_be_reported,
}

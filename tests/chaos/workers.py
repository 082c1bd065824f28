"""Scenarios of workers: killed, stopped, full, drained, blocked, or not there at all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime
from functools import partial

import httpx2

from headrace.taskqueue import TaskQueue, TaskStatus
from tests.chaos.lab import (
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
from tests.chaos.processes import Process, Site, until

TAKEOVER_SECONDS = 16.0
DELAY_SECONDS = 5.0
WAITING_RUNS = 200
WAITING_SECONDS = 15.0
GREEN_SECONDS = 62.0
SILENCE_SECONDS = 30.0
MARK_SECONDS = 20.0
"""A drain mark ends after 60 s unless it is renewed."""


async def killed_worker(lab: Lab) -> str:
    """Its task runs again, elsewhere, within the default lease and a second."""
    with lab.site(appendfsync="always", QUEUES="work") as here:
        workers = await here.workers(2)
        await lab.all_set()
        async with queue_of(here) as queue:
            work = tasks_of("work", '{"seconds":60,"again_seconds":0}', 4)
            ids = await submitted(queue, work)
            await begun(here, ids)
            victim = next(worker for worker in workers if worker.pid == here.begun(ids[0])[0].pid)
            its = [i for i in ids if here.begun(i)[0].pid == victim.pid]
            await _renewed(here, its[0])
            victim.kill()
            killed = time.time()
            await until(lambda: all(len(here.begun(i)) == 2 for i in its), 40, "the second runs")
            took = max(here.begun(i)[1].at for i in its) - killed
            tasks = await all_final(queue, its, 5)
            assert {(task.status, task.crash_count) for task in tasks} == {
                (TaskStatus.COMPLETED, 1)
            }
            assert took < TAKEOVER_SECONDS
        return f"{len(its)} tasks of a killed worker ran again {took:.1f} s later"


async def _renewed(here: Site, task_id: str) -> None:
    """Until just now the task's lease was renewed: the worst moment for its worker to be killed."""

    def ends() -> float | None:
        return here.server.client.zscore("{headrace}:leases:work", f"{task_id}:1")

    first = ends()
    assert first is not None
    await until(lambda: ends() != first, 10, "a renewal")


async def delayed_without_workers(lab: Lab) -> str:
    """With no worker alive, a task that is due counts as waiting: or no worker would be started."""
    with lab.site() as here:
        _, url = await here.api()
        await lab.all_set()
        async with httpx2.AsyncClient(base_url=url) as client:
            start_at = time.time() + DELAY_SECONDS
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start_at))
            due = float(int(start_at))
            body = {"payload": {"seconds": 0}, "start_at": stamp}
            reply = await client.post("/api/tasks/work", json=body)
            assert (reply.status_code, reply.json()["status"]) == (202, "pending")

            async def numbers() -> tuple[int, int]:
                stats = (await client.get("/api/workflows/queue/stats")).json()
                queue = stats["queues"]["work"]
                return queue["queue_length"], queue["delayed"]

            seen = []
            while time.time() < due + 1:
                at = time.time()
                seen.append((at - due, await numbers()))
                await asyncio.sleep(0.05)
        assert all(found == (0, 1) for at, found in seen if at < -0.1), seen
        assert all(found == (1, 0) for at, found in seen if at > 0.1), seen
        first = next(at for at, found in seen if found == (1, 0))
        return f"queue_length 1, {first * 1000:.0f} ms after the task was due"


async def waiting_workflows(lab: Lab, *, kill: bool) -> str:
    """Runs that wait hold no slot: 200 waits of 10 s end on one worker of 5 in under 15 s."""
    with lab.site(appendfsync="always", QUEUES="workflow_execute", MAX_WORKERS="5") as here:
        [worker] = await here.workers(1)
        await lab.all_set()
        async with queue_of(here) as queue:
            payload = '{"workflow_id":"wait-and-greet","variables":{"name":"Ada"}}'
            work = tasks_of("workflow_execute", payload, WAITING_RUNS)
            began = time.monotonic()
            ids = await submitted(queue, work)
            parked = await _parked(queue) - began
            restart = 0.0
            if kill:
                restart = await _replace(here, worker)
            tasks = await all_final(queue, ids, 60)
            took = time.monotonic() - began
        assert {(task.status, task.crash_count, task.retry_count) for task in tasks} == {
            (TaskStatus.COMPLETED, 0, 0)
        }
        assert took - restart < WAITING_SECONDS
        assert_tidy(here.server)
        killed = f", the worker killed and replaced meanwhile ({restart:.1f} s)" if kill else ""
        return f"{len(ids)} runs parked within {parked:.1f} s and done within {took:.1f} s{killed}"


async def _parked(queue: TaskQueue) -> float:
    """When all runs wait."""

    async def look() -> bool:
        return (await queue.stats()).queues["workflow_execute"].delayed == WAITING_RUNS

    await until(look, WAITING_SECONDS, "all runs parked")
    return time.monotonic()


async def _replace(here: Site, worker: Process) -> float:
    """Kill a worker, start another one; how long that took."""
    began = time.monotonic()
    worker.kill()
    await here.workers(1)
    return time.monotonic() - began


async def full_and_drained_workers(lab: Lab) -> str:
    """A worker whose slots are all busy, and one that is drained, are alive and ready."""
    full, drained = Probed(), Probed()
    with lab.site(QUEUES="work,work_sync", MAX_WORKERS="2") as here:
        workers = [here.worker(**drained.setting)]
        mark = (await workers[0].logged("worker.started"))["worker"]
        workers.append(here.worker(**full.setting))
        await workers[1].logged("worker.started")
        await lab.all_set()
        async with queue_of(here) as queue, contextlib.AsyncExitStack() as stack:
            await queue.drain(mark)
            await workers[0].logged("worker.draining")
            work = [
                task
                for name in ("work", "work_sync")
                for task in tasks_of(name, f'{{"seconds":{GREEN_SECONDS + 2}}}')
            ]
            ids = await submitted(queue, work)
            await begun(here, ids)
            for worker in (full, drained):
                await stack.enter_async_context(worker.watching())
            for _ in range(int(GREEN_SECONDS / MARK_SECONDS) + 1):
                await queue.drain(mark)
                await asyncio.sleep(min(MARK_SECONDS, GREEN_SECONDS / 3))
            [status] = [worker for worker in (await queue.stats()).workers if worker.id == mark]
            assert status.drained
            await queue.undrain(mark)
            tasks = await all_final(queue, ids, 15)
        assert {run.pid for run in here.runs()} == {workers[1].pid}
        assert {(task.status, task.crash_count) for task in tasks} == {(TaskStatus.COMPLETED, 0)}
        assert (full.red, drained.red) == ([], [])
        return f"{full.count} probes of a full worker and {drained.count} of a drained one, green"


async def blocked_event_loop(lab: Lab) -> str:
    """A handler that blocks the event loop: liveness fails after 30 s, and its lease is kept."""
    probes = Probed()
    seconds = SILENCE_SECONDS + 12
    with lab.site(QUEUES="block", MAX_WORKERS="2") as here:
        worker = here.worker(**probes.setting)
        await worker.logged("worker.started")
        await lab.all_set()
        async with queue_of(here) as queue:
            [task_id] = await submitted(queue, tasks_of("block", f'{{"seconds":{seconds}}}'))
            await begun(here, [task_id])
            blocked = time.monotonic()
            await here.workers(1)
            async with probes.watching():
                [task] = await all_final(queue, [task_id], seconds + 10)
                ended = time.monotonic()
                await asyncio.sleep(3)
        live = [(at - blocked, status) for at, status, _ in probes.answers["/healthz"]]
        red = [at for at, status in live if status == 503]
        assert red
        assert SILENCE_SECONDS - 2 < red[0] < SILENCE_SECONDS + 4
        assert max(red) < ended - blocked + 2
        assert live[-1][1] == 200
        assert (task.status, task.crash_count) == (TaskStatus.COMPLETED, 0)
        assert len(here.begun(task_id)) == 1
        return f"liveness failed after {red[0]:.1f} s, green again after the block; one run"


async def sigterm_under_load(lab: Lab) -> str:
    """No task is interrupted, and the worker exits 0 as soon as its running tasks have ended."""
    with lab.site(QUEUES="work,work_sync") as here:
        workers = await here.workers(3)
        await lab.all_set()
        async with queue_of(here) as queue:
            work = [
                task
                for name in ("work", "work_sync")
                for seconds in (0.02, 0.1, 0.7)
                for task in tasks_of(name, f'{{"seconds":{seconds}}}', 60)
            ]
            work.sort(key=lambda task: task.id)
            ids = await submitted(queue, work)
            await asyncio.sleep(2)
            waits = []
            for worker in workers[:2]:
                worker.terminate()
                assert await worker.exit_status(10) == 0
                its = [run for run in here.runs() if run.pid == worker.pid]
                assert {run.event for run in its} == {"begin", "end"}
                stopped = (await worker.logged("worker.stopped"))["timestamp"]
                waits.append(datetime.fromisoformat(stopped).timestamp() - its[-1].at)
                left = (await queue.stats()).queues
                assert sum(queue.queue_length for queue in left.values()) > 0, "it was under load"
            tasks = await all_final(queue, ids, 60)
        assert {(record.status, record.crash_count) for record in tasks} == {
            (TaskStatus.COMPLETED, 0)
        }
        runs = here.runs()
        assert len([run for run in runs if run.event == "begin"]) == len(ids)
        assert len([run for run in runs if run.event == "end"]) == len(ids)
        assert pids(workers) == {run.pid for run in runs}
        assert max(waits) < 0.5
        slowest = max(waits)
        return f"{len(ids)} tasks, each run once; done {slowest:.2f} s after the last one, exit 0"


SCENARIOS: dict[str, Scenario] = {
    "killed-worker": killed_worker,
    "delayed-without-workers": delayed_without_workers,
    "waiting-workflows": partial(waiting_workflows, kill=False),
    "waiting-workflows-and-a-kill": partial(waiting_workflows, kill=True),
    "full-and-drained-workers": full_and_drained_workers,
    "blocked-event-loop": blocked_event_loop,
    "sigterm-under-load": sigterm_under_load,
}

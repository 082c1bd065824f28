"""Handlers in child processes of a real worker: leases, stops, crashes, the worker's own end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import psutil

from headrace import TaskStatus
from tests.integration.worker.conftest import LEASE_SECONDS, Bench, Process, until

CALL_SECONDS = 3.5 * LEASE_SECONDS


async def its_process(bench: Bench, task_id: str) -> int:
    """The process that a task computes in."""

    async def said() -> str | None:
        return (await bench.queue.get(task_id)).progress_message

    return int(await until(said, 30))


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_call_of_several_leases_runs_once_and_holds_nobody_up(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    worker = new_process(QUEUES="crunch,nap", MAX_WORKERS="2")
    await worker.logged("worker.started")
    computing = await bench.submit("crunch", CALL_SECONDS)
    assert await its_process(bench, computing) != worker.popen.pid
    waits: list[float] = []
    while (await bench.queue.get(computing)).status is TaskStatus.RUNNING:
        began = time.monotonic()
        await bench.ended(await bench.submit("nap", 0))
        waits.append(time.monotonic() - began)
    record = await bench.ended(computing)
    assert (record.status, record.result) == (TaskStatus.COMPLETED, b"1")
    assert (record.crash_count, record.retry_count) == (0, 0)
    assert len(waits) > 20
    assert sorted(waits)[len(waits) // 2] < LEASE_SECONDS / 2
    assert worker.lines("worker.stalled") == []


async def test_a_crash_is_a_failed_attempt_and_no_crash_of_the_worker(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    worker = new_process(QUEUES="crunch")
    record = await bench.ended(await bench.submit("crunch", -1, max_retries=1), 30)
    assert record.status is TaskStatus.FAILED
    assert record.error == "ProcessDied: the handler's process was ended by SIGSEGV"
    assert (record.retry_count, record.crash_count) == (1, 0)
    [line] = worker.lines("task.retry")
    assert line["error"] == record.error


async def test_a_worker_that_is_to_end_lets_it_finish(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    worker = new_process(QUEUES="crunch")
    task_id = await bench.submit("crunch", CALL_SECONDS)
    pid = await its_process(bench, task_id)
    # As a process manager does that signals every process it finds.
    worker.send(signal.SIGTERM)
    os.kill(pid, signal.SIGTERM)
    assert await worker.exit_status(30) == 0
    assert (await bench.queue.get(task_id)).status is TaskStatus.COMPLETED
    await until(lambda: gone(pid))


async def test_past_its_grace_a_worker_kills_it_and_hands_it_back(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    worker = new_process(QUEUES="crunch", GRACE_SECONDS="0.5")
    task_id = await bench.submit("crunch", 60)
    pid = await its_process(bench, task_id)
    worker.send(signal.SIGTERM)
    assert await worker.exit_status(30) == 0
    record = await bench.queue.get(task_id)
    assert (record.status, record.crash_count) == (TaskStatus.QUEUED, 0)
    await until(lambda: gone(pid))


async def test_a_cancel_of_a_running_task_kills_it(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    new_process(QUEUES="crunch")
    task_id = await bench.submit("crunch", 60)
    pid = await its_process(bench, task_id)
    await bench.queue.cancel(task_id, running=True)
    assert (await bench.ended(task_id, 30)).status is TaskStatus.CANCELLED
    await until(lambda: gone(pid))


async def test_it_dies_with_its_worker(bench: Bench, new_process: Callable[..., Process]) -> None:
    worker = new_process(QUEUES="crunch")
    task_id = await bench.submit("crunch", 60)
    pid = await its_process(bench, task_id)
    await asyncio.sleep(0.5)
    worker.send(signal.SIGKILL)
    await until(lambda: gone(pid))

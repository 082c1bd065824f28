"""Handlers in child processes of a real worker: leases, stops, crashes, the worker's own end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

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


COMPUTING = """
import itertools
while True:
    sum(itertools.repeat(1, 10_000_000))
"""


async def latencies(bench: Bench, count: int) -> list[float]:
    """How long so many quick tasks took, in ms, by Redis's clock: about a hundred a second."""
    ids = []
    for _ in range(count):
        ids.append(await bench.submit("nap", 0))
        await asyncio.sleep(0.01)
    records = [await bench.ended(task_id) for task_id in ids]
    return [
        (record.completed_at - record.created_at).total_seconds() * 1000
        for record in records
        if record.completed_at is not None
    ]


def p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


@pytest.mark.soak
@pytest.mark.timeout(400)
async def test_beside_a_call_of_60_s_a_thousand_others_are_as_quick(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    """Compared with a thousand while another program takes that core, turn and turn about."""
    worker = new_process(QUEUES="crunch,nap", MAX_WORKERS="10")
    await worker.logged("worker.started")
    await latencies(bench, 200)  # until all is warm
    other = subprocess.Popen([sys.executable, "-c", COMPUTING])  # noqa: ASYNC220
    beside_other: list[float] = []
    beside_call: list[float] = []
    try:
        other.send_signal(signal.SIGSTOP)
        computing = await bench.submit("crunch", 60)
        call = psutil.Process(await its_process(bench, computing))
        await asyncio.sleep(3)  # it has seen how much makes 60 s, and is within that call
        for _ in range(10):
            beside_call += await latencies(bench, 100)
            call.suspend()
            other.send_signal(signal.SIGCONT)
            beside_other += await latencies(bench, 100)
            other.send_signal(signal.SIGSTOP)
            call.resume()
    finally:
        other.kill()
        other.wait(10)
    assert (await bench.queue.get(computing)).status is TaskStatus.RUNNING
    record = await bench.ended(computing, 300)
    assert (record.result, record.crash_count) == (b"1", 0)
    assert worker.lines("worker.stalled") == []
    print(f"p99: {p99(beside_call):.0f} ms, beside another program {p99(beside_other):.0f} ms")
    # Redis tells milliseconds.
    assert p99(beside_call) <= 1.2 * p99(beside_other) + 1

"""A call that keeps the interpreter for longer than the lease, and a process that did not run."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable

from headrace import TaskStatus
from headrace.taskqueue import MAX_CRASHES
from tests.integration.worker.conftest import LEASE_SECONDS, Bench, Process, until

HELD = re.compile(
    r"its lease ended while a call of type gil held the interpreter for (\d+\.\d) s; "
    r"4 attempts ended without an outcome"
)


async def test_a_call_that_holds_the_interpreter_past_the_lease_is_named(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    worker = new_process(QUEUES="gil", MAX_WORKERS="1")
    await worker.logged("worker.started")
    task_id = await bench.submit("gil", 2 * LEASE_SECONDS)

    async def failed() -> bool:
        await bench.queue.reap(["gil"])  # as every other worker does
        return (await bench.queue.get(task_id)).status is TaskStatus.FAILED

    await until(failed, 100)
    record = await bench.queue.get(task_id)
    assert record.crash_count == MAX_CRASHES + 1
    match = HELD.fullmatch(record.error or "")
    assert match is not None, record.error
    assert float(match[1]) > LEASE_SECONDS
    line = worker.lines("worker.stalled")[0]
    assert line["types"] == ["gil"]
    assert "a call of type gil held the interpreter" in line["reason"]
    assert (await bench.queue.stats()).queues["gil"].stalls_total >= 1


async def test_a_process_that_did_not_run_is_told_of_as_such(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    worker = new_process(QUEUES="nap")
    await bench.reached(await bench.submit("nap", 30), TaskStatus.RUNNING)
    await asyncio.sleep(0.1)
    worker.send(signal.SIGSTOP)
    await asyncio.sleep(3 * LEASE_SECONDS)
    worker.send(signal.SIGCONT)

    def found() -> list[str]:
        lines = [line for line in worker.lines("worker.stalled") if line["types"] == ["nap"]]
        return [line["reason"] for line in lines]

    assert "its worker's process did not run for" in (await until(found))[-1]

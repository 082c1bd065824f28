"""Redis away, hanging, or empty; leases lost; event loops blocked."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from headrace import Context, TaskStatus, handler
from headrace.taskqueue import QueueUnavailable
from headrace_worker.probes import fault
from tests.conftest import ServerFactory
from tests.integration.worker.conftest import Bench, Process, until


async def test_a_task_that_runs_through_a_restart_of_redis_runs_once_and_its_result_is_kept(
    new_server: ServerFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = []
    server = new_server(appendfsync="always")
    bench = Bench(server)

    @handler("long")
    async def long(ctx: Context, seconds: float) -> str:
        runs.append(ctx.attempt)
        await asyncio.sleep(seconds)
        return "kept"

    try:
        bench.start(long)
        during = await bench.submit("long", 1.2)
        within = await bench.submit("long", 0.2)
        await until(lambda: len(runs) == 2)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.8)
        await asyncio.to_thread(server.start)
        back = time.monotonic()
        for task_id in (within, during):
            task = await until(functools.partial(_final, bench, task_id))
            assert (task.status, task.result) == (TaskStatus.COMPLETED, b'"kept"')
            assert (task.retry_count, task.crash_count) == (0, 0)
        after = await bench.submit("long", 0)
        assert (await bench.ended(after)).status is TaskStatus.COMPLETED
        assert time.monotonic() - back < 5
        assert runs == [1, 1, 1]
    finally:
        await bench.close()
    log = capfd.readouterr().err
    assert log.count("redis.lost") == 1


async def _final(bench: Bench, task_id: str) -> Any:
    """A task's record if it is final, and None while Redis is not back for our own client."""
    try:
        task = await bench.queue.get(task_id)
    except QueueUnavailable:
        return None
    return task if task.status.final else None


async def test_a_redis_that_hangs_is_worked_with_again_once_it_answers(bench: Bench) -> None:
    @handler("work")
    async def work(ctx: Context, payload: Any) -> None: ...

    worker = bench.start(work)
    await until(lambda: worker._waiter is not None)
    bench.server.pause()
    try:
        await asyncio.sleep(2.5)
        assert fault(worker.signs(), lambda: False, 2.0) is None
    finally:
        bench.server.resume()
    back = time.monotonic()
    await asyncio.sleep(0.1)
    task_id = await until(lambda: _submit(bench))
    assert (await bench.ended(task_id)).status is TaskStatus.COMPLETED
    assert time.monotonic() - back < 5


async def _submit(bench: Bench) -> str | None:
    try:
        return await bench.submit("work")
    except QueueUnavailable:
        return None


async def test_a_redis_that_lost_its_data_gets_back_what_runs(bench: Bench) -> None:
    runs = []
    go_on = asyncio.Event()

    @handler("long")
    async def long(ctx: Context, payload: Any) -> str:
        runs.append(ctx.task_id)
        await ctx.checkpoint(b"half way")
        await go_on.wait()
        return "kept"

    worker = bench.start(long)
    task_id = await bench.submit("long", {"a": 1})
    await until(lambda: runs)
    bench.server.flush()

    async def known_again() -> bool:
        return any(registered.id == worker.info.id for registered in await bench.registered())

    await until(known_again)
    restored = await bench.reached(task_id, TaskStatus.RUNNING)
    assert restored.payload == b'{"a": 1}'
    go_on.set()
    task = await bench.ended(task_id)
    assert (task.status, task.result) == (TaskStatus.COMPLETED, b'"kept"')
    assert runs == [task_id]
    assert (await bench.ended(await bench.submit("long"))).status is TaskStatus.COMPLETED


async def test_a_result_that_waits_for_redis_is_put_back_and_reported(bench: Bench) -> None:
    """The data is lost between the end of a handler and its report."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    @handler("long")
    async def long(ctx: Context, payload: Any) -> str:
        begun.set()
        await go_on.wait()
        return "kept"

    worker = bench.start(long)
    task_id = await bench.submit("long")
    await begun.wait()
    bench.server.flush()
    go_on.set()
    await until(lambda: worker._hand.idle)
    task = await bench.ended(task_id)
    assert (task.status, task.result) == (TaskStatus.COMPLETED, b'"kept"')


async def test_a_blocked_event_loop_keeps_its_leases(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    other = new_process(QUEUES="nap")
    await other.logged("worker.started")

    @handler("nap", timeout_seconds=60)
    async def nap(ctx: Context, seconds: float) -> str:
        await bench.queue.undrain(other_id)
        time.sleep(seconds)  # noqa: ASYNC251 - the mistake under test
        return "mine"

    other_id = other.lines("worker.started")[0]["worker"]
    await bench.queue.drain(other_id)
    await other.logged("worker.draining")
    bench.start(nap)
    task_id = await bench.submit("nap", 2.5)
    task = await bench.ended(task_id)
    assert (task.status, task.result, task.crash_count) == (TaskStatus.COMPLETED, b'"mine"', 0)


async def test_a_worker_that_slept_past_its_lease_drops_what_it_has(
    bench: Bench, new_process: Callable[..., Process]
) -> None:
    sleeper = new_process(MAX_WORKERS="1", QUEUES="nap")
    await sleeper.logged("worker.started")
    task_id = await bench.submit("nap", 1.0)
    await sleeper.logged("task.dequeued")
    sleeper.send(signal.SIGSTOP)
    other = new_process(MAX_WORKERS="1", QUEUES="nap")
    task = await bench.ended(task_id, 20)
    sleeper.send(signal.SIGCONT)
    lost = await sleeper.logged("task.lost")
    assert lost["task_id"] == task_id
    assert lost["attempt"] == 1
    assert (task.status, task.crash_count, task.result) == (
        TaskStatus.COMPLETED,
        1,
        b'{"attempt":2}',
    )
    assert (await bench.queue.get(task_id)).result == task.result
    assert other.lines("task.dequeued")[0]["attempt"] == 2
    again = await bench.submit("nap", 0)
    assert (await bench.ended(again)).status is TaskStatus.COMPLETED

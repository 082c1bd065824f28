"""`run_worker.py` as a process: signals, exit statuses, probes."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from headrace import NewTask, TaskStatus, new_id
from headrace.taskqueue.keys import Keys
from tests.integration.worker.conftest import Bench, Process
from tests.servers import free_port

StartProcess = Callable[..., Process]


async def test_sigterm_under_load_lets_running_tasks_end_and_takes_no_more(
    bench: Bench, new_process: StartProcess
) -> None:
    worker = new_process(MAX_WORKERS="4")
    await worker.logged("worker.started")
    tasks = [NewTask(type="nap", payload=b"0.02", id=new_id()) for _ in range(400)]
    await bench.queue.submit_many(tasks)
    long = await bench.submit("nap", 1.0)
    await worker.logged("task.state")
    worker.send(signal.SIGTERM)
    assert await worker.exit_status() == 0
    stats = (await bench.queue.stats()).queues["nap"]
    records = await bench.queue.get_many([*(task.id for task in tasks), long])
    statuses = [task.status for task in records if task is not None]
    assert set(statuses) == {TaskStatus.COMPLETED, TaskStatus.QUEUED}
    assert stats.running == 0
    assert stats.crashes_total == 0
    assert worker.lines("worker.handing_back") == []
    assert await bench.registered() == []


async def test_it_exits_as_soon_as_the_running_tasks_have_ended(
    bench: Bench, new_process: StartProcess
) -> None:
    worker = new_process()
    await worker.logged("worker.started")
    task_id = await bench.submit("nap", 0.6)
    await worker.logged("task.dequeued")
    worker.send(signal.SIGTERM)
    task = await bench.ended(task_id)
    ended = time.monotonic()
    assert await worker.exit_status() == 0
    assert time.monotonic() - ended < 1
    assert task.status is TaskStatus.COMPLETED


async def test_a_second_signal_hands_running_tasks_back_at_once(
    bench: Bench, new_process: StartProcess
) -> None:
    worker = new_process()
    await worker.logged("worker.started")
    task_id = await bench.submit("nap", 60)
    await worker.logged("task.dequeued")
    worker.send(signal.SIGTERM)
    await worker.logged("worker.stopping")
    worker.send(signal.SIGINT)
    began = time.monotonic()
    assert await worker.exit_status() == 0
    assert time.monotonic() - began < 1.5
    task = await bench.queue.get(task_id)
    assert (task.status, task.crash_count, task.retry_count) == (TaskStatus.QUEUED, 0, 0)


async def test_after_the_grace_what_still_runs_is_handed_back(
    bench: Bench, new_process: StartProcess
) -> None:
    worker = new_process(GRACE_SECONDS="0.3")
    await worker.logged("worker.started")
    short, long = await bench.submit("nap", 0.1), await bench.submit("nap", 60)
    await worker.logged("task.dequeued")
    worker.send(signal.SIGTERM)
    assert await worker.exit_status() == 0
    assert (await bench.queue.get(short)).status is TaskStatus.COMPLETED
    assert (await bench.queue.get(long)).status is TaskStatus.QUEUED


async def test_a_thread_that_does_not_stop_keeps_no_process_alive(
    bench: Bench, new_process: StartProcess
) -> None:
    worker = new_process(MAX_WORKERS="1")
    await worker.logged("worker.started")
    task_id = await bench.submit("stubborn", 60, max_retries=0)
    assert (await bench.ended(task_id)).status is TaskStatus.FAILED
    assert (await worker.logged("task.still_running"))["task_id"] == task_id
    worker.send(signal.SIGTERM)
    assert await worker.exit_status() == 0
    assert worker.lines("worker.stopped")[0]["exit_status"] == 0


async def test_the_log_tells_of_each_task_with_id_type_attempt_and_duration(
    bench: Bench, new_process: StartProcess
) -> None:
    worker = new_process()
    task_id = await bench.submit("nap", 0.01)
    failed = await bench.submit("stubborn", "secret-word", max_retries=0)
    await bench.ended(task_id)
    await bench.ended(failed)
    for event in ("task.dequeued", "task.state", "task.failed"):
        line = await worker.logged(event)
        assert line["task_id"] in (task_id, failed)
        assert line["type"] in ("nap", "stubborn")
        assert line["attempt"] == 1
        assert line["duration_ms"] >= 0
    assert worker.lines("task.state")[0]["status"] == "completed"
    assert "payload" in worker.lines("task.failed")[0]["error"]
    assert "secret-word" not in worker.log.read_text()


async def test_it_starts_without_redis_and_works_once_redis_is_there(
    bench: Bench, new_process: StartProcess
) -> None:
    bench.server.terminate()
    port = free_port()
    worker = new_process(PROBE_PORT=str(port), PROBE_HOST="127.0.0.1")
    try:
        await worker.logged("redis.lost")
        assert await probe(port, "/healthz") == 200
        assert await probe(port, "/readyz") == 503
    finally:
        bench.server.start()
    await worker.logged("worker.started")
    assert await probe(port, "/readyz") == 200
    assert (await bench.ended(await bench.submit("nap", 0))).status is TaskStatus.COMPLETED
    bench.server.terminate()
    await asyncio.sleep(0.3)
    assert await probe(port, "/readyz") == 200, "whatever Redis does later"
    assert await probe(port, "/healthz") == 200
    bench.server.start()


async def test_data_of_a_newer_layout_is_refused_in_a_sentence(
    bench: Bench, new_process: StartProcess
) -> None:
    bench.server.client.hset(Keys("headrace").meta, "version", 99)
    worker = new_process()
    assert await worker.exit_status() == 3
    assert "upgrade this process" in worker.lines("worker.layout_too_new")[0]["error"]


async def test_an_unknown_queue_and_a_taken_probe_port_are_said_in_a_sentence(
    new_process: StartProcess,
) -> None:
    unknown = new_process(QUEUES="nap,paint")
    assert await unknown.exit_status() == 2
    assert (
        "worker: no handler is installed for paint: known are act, crunch, gil, nap, stubborn"
        in (unknown.log.read_text())
    )
    port = free_port()
    first = new_process(PROBE_PORT=str(port), PROBE_HOST="127.0.0.1")
    await first.logged("worker.started")
    second = new_process(PROBE_PORT=str(port), PROBE_HOST="127.0.0.1")
    assert await second.exit_status() == 2
    assert f"worker: PROBE_PORT={port}" in second.log.read_text()


async def probe(port: int, path: str) -> int:
    """The status of a probe."""

    def ask() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    return await asyncio.to_thread(ask)

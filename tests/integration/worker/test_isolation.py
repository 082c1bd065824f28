"""What handlers do to the process that they run in: forks, exits, and what they leave behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from headrace import TaskStatus
from tests.integration.worker.conftest import Bench, Process

HOSTILE = Path(__file__).parent / "hostile"

StartProcess = Callable[..., Process]


@pytest.fixture
def start(new_process: StartProcess, tmp_path: Path) -> StartProcess:
    """Start a worker that runs these types and honest ones."""

    def start(*types: str, **settings: str) -> Process:
        return new_process(
            PYTHONPATH=str(HOSTILE),
            QUEUES=",".join(["honest", *types]),
            LEASE_SECONDS="6",
            HONEST_FILE=str(tmp_path / "honest"),
            **settings,
        )

    return start


async def test_forked_children_take_no_part_in_their_worker(
    bench: Bench, start: StartProcess
) -> None:
    kinds = ("fork_a_pool", "fork_and_terminate", "fork_and_return")
    types = [f"{kind}.{suffix}" for kind in kinds for suffix in ("sync", "async")]
    worker = start(*types)
    for name in types:
        task = await bench.ended(await bench.submit(name, max_retries=0))
        assert task.status is TaskStatus.COMPLETED, (name, task.error)
        assert worker.lines("worker.stopping") == [], name
    assert (await bench.ended(await bench.submit("honest", "1"))).status is TaskStatus.COMPLETED
    assert psutil.Process(worker.popen.pid).children() == []
    assert len(worker.lines("handler.stray_child")) == 2


async def test_an_exit_in_a_handlers_own_tasks_ends_no_worker(
    bench: Bench, start: StartProcess
) -> None:
    types = ["exit_elsewhere", "exit_unseen", "stop_the_loop", "cancel_everything"]
    worker = start(*(f"{name}.async" for name in types))
    errors = []
    for name in types:
        task = await bench.ended(await bench.submit(f"{name}.async", max_retries=0))
        errors.append(task.error)
        assert worker.popen.poll() is None, name
    assert errors[0] is not None
    assert "SystemExit: 0" in errors[0]
    assert errors[1:3] == [None, None]
    assert (await bench.ended(await bench.submit("honest", "1"))).status is TaskStatus.COMPLETED
    assert len(worker.lines("handler.left_the_loop")) == 3


async def test_what_handlers_leave_is_named_and_keeps_no_worker_alive(
    bench: Bench, start: StartProcess
) -> None:
    types = [
        *("leak_a_thread.sync", "leak_a_pool.async", "leak_a_process.sync"),
        *("leak_a_task.async", "hang_deaf.sync"),
    ]
    worker = start(*types, MAX_WORKERS=str(len(types)))
    for task_id in [await bench.submit(name, max_retries=0) for name in types]:
        await bench.ended(task_id)
    worker.send(signal.SIGTERM)
    await worker.logged("worker.stopped")
    reported = time.monotonic()
    assert await worker.exit_status() == 0
    assert time.monotonic() - reported < 5
    [left] = worker.lines("process.left_behind")
    assert any("leaked" in it for it in left["threads"])
    assert any("in _worker" in it or "in run" in it for it in left["threads"])
    assert any("_deaf" in it for it in left["tasks"])
    assert any("hang_deaf.sync" in it for it in left["attempts"])
    assert len(left["processes"]) == 1

"""A worker that is given sixty hostile handlers in turn, and honest work in between."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from headrace import Task, TaskStatus
from tests.integration.worker.conftest import Bench, Process
from tests.pythons import environment_for, find_python

HOSTILE = Path(__file__).parent / "hostile"
IMAGE = Path(__file__).parents[3] / "services" / "worker" / "Dockerfile"
EXIT_SECONDS = 10.0
MAX_BYTES = 400 * 2**20

StartProcess = Callable[..., Process]


def hostile_types() -> list[str]:
    """The names of all, read from the file: importing it here would do no good."""
    text = (HOSTILE / "hostile_types.py").read_text()
    found = re.findall(
        r'^raising\("(\w+)"|^@hostile\ndef (\w+)|^@as_async\((\w+)\)', text, flags=re.MULTILINE
    )
    kinds = [f"raise_{a}" if a else b or c for a, b, c in found]
    return [f"{kind}.{suffix}" for kind in kinds for suffix in ("sync", "async")]


async def survives(bench: Bench, new_process: StartProcess, tmp_path: Path, python: str) -> None:
    """Run all of them in one worker of this Python, and look what became of it."""
    types, trace = hostile_types(), tmp_path / "honest"
    assert len(types) == 60
    worker = new_process(
        python=python,
        PYTHONPATH=str(HOSTILE),
        QUEUES=",".join(["honest", *types]),
        MAX_WORKERS="20",
        LEASE_SECONDS="6",
        HONEST_FILE=str(trace),
    )
    await worker.logged("worker.started")
    process, largest = psutil.Process(worker.popen.pid), 0

    async def honest(number: int) -> Task:
        return await bench.ended(await bench.submit("honest", str(number)), 20)

    for number, name in enumerate(types):
        task_id = await bench.submit(name, max_retries=0)
        try:
            done, ended = await asyncio.gather(honest(number), bench.ended(task_id, 20))
        except TimeoutError:
            pytest.fail(f"{name} wedged the worker: {worker.log.read_text()[-5000:]}")
        assert worker.popen.poll() is None, f"{name} ended the worker: {worker.log.read_text()}"
        assert done.status is TaskStatus.COMPLETED, (name, done.error)
        assert (ended.crash_count, ended.status.final) == (0, True), (name, ended.error)
        largest = max(largest, process.memory_info().rss)
    worker.send(signal.SIGTERM)
    began = time.monotonic()
    assert await worker.exit_status(30) == 0
    assert time.monotonic() - began <= EXIT_SECONDS
    assert sorted(map(int, trace.read_text().split())) == list(range(60))
    assert largest < MAX_BYTES
    assert len(worker.lines("worker.stopped")) == 1
    [left] = worker.lines("process.left_behind")
    assert any("leaked" in thread for thread in left["threads"])
    assert left["tasks"]
    assert left["processes"]


@pytest.mark.timeout(150)
async def test_sixty_hostile_handlers_neither_stop_nor_wedge_nor_silence_a_worker(
    bench: Bench, new_process: StartProcess, tmp_path: Path
) -> None:
    await survives(bench, new_process, tmp_path, python="")


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_nor_do_they_on_the_python_of_the_image(
    bench: Bench, new_process: StartProcess, tmp_path: Path
) -> None:
    found = re.search(r"python:(\d+\.\d+)", IMAGE.read_text())
    assert found is not None
    version = found[1]
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} is on PATH, nor one that pyenv has")
    await survives(bench, new_process, tmp_path, await asyncio.to_thread(environment_for, python))

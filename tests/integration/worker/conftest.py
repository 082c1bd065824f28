"""Workers for tests: inside of the test's own event loop, or as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import NewTask, Task, TaskQueue, TaskStatus, TaskType, new_id
from headrace.taskqueue import WorkerInfo, WorkerStatus
from headrace_worker.worker import Worker
from tests.servers import RedisServer

ROOT = Path(__file__).parents[3]
PACKAGE = Path(__file__).parent / "package"
LEASE_SECONDS = 1.0


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Ask until the answer is true, or a coroutine brings something true; return that."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)


class Bench:
    """A queue on a real server, and workers in this event loop."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.queue = TaskQueue(server.url, lease_seconds=LEASE_SECONDS)
        self.workers: list[tuple[Worker, asyncio.Task[int]]] = []

    async def submit(self, task_type: str, payload: Any = None, **rules: Any) -> str:
        """Submit a task; returns its id."""
        task = NewTask(type=task_type, payload=json.dumps(payload).encode(), id=new_id(), **rules)
        await self.queue.submit(task)
        return task.id

    def start(self, *types: TaskType[Any, Any], concurrency: int = 2, **rules: Any) -> Worker:
        """Start a worker for these task types."""
        queue = TaskQueue(
            self.server.url, lease_seconds=LEASE_SECONDS, client_name="headrace-worker"
        )
        info = WorkerInfo(
            id=f"w{len(self.workers)}-{secrets.token_hex(3)}",
            host="test",
            pod=None,
            pid=os.getpid(),
            version="1",
            queues=[task_type.name for task_type in types],
            concurrency=concurrency,
            started_at_ms=int(time.time() * 1000),
        )
        worker = Worker(queue, types, info, **rules)
        self.workers.append((worker, asyncio.create_task(self._run(worker, queue))))
        return worker

    @staticmethod
    async def _run(worker: Worker, queue: TaskQueue) -> int:
        try:
            return await worker.run()
        finally:
            await queue.close()

    async def stop(self, worker: Worker) -> int:
        """Stop a worker and wait for its exit status."""
        [task] = [task for started, task in self.workers if started is worker]
        worker.stop()
        return await asyncio.wait_for(task, 15)

    async def registered(self) -> list[WorkerStatus]:
        """The workers that are registered."""
        return (await self.queue.stats()).workers

    async def ended(self, task_id: str, seconds: float = 15.0) -> Task:
        """A task's record, once it is final."""
        return await self.reached(
            task_id, *(status for status in TaskStatus if status.final), seconds=seconds
        )

    async def reached(self, task_id: str, *statuses: TaskStatus, seconds: float = 15.0) -> Task:
        """A task's record, once it has one of the statuses."""

        async def look() -> Task | None:
            task = await self.queue.get(task_id)
            return task if task.status in statuses else None

        found = await until(look, seconds)
        assert isinstance(found, Task)
        return found

    async def close(self) -> None:
        """Stop all workers, by force if need be."""
        for worker, task in self.workers:
            if not task.done():
                worker.stop()
                worker.stop()
        results = await asyncio.gather(
            *(asyncio.wait_for(task, 15) for _, task in self.workers), return_exceptions=True
        )
        for worker, _ in self.workers:
            await asyncio.to_thread(worker.leases.join, 5)
        await self.queue.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result


@pytest.fixture
async def bench(server: RedisServer) -> AsyncIterator[Bench]:
    """A queue on the shared server."""
    bench = Bench(server)
    yield bench
    await bench.close()


class Process:
    """`run_worker.py` in a process of its own, with the task types of `package/`.

    `python`: the interpreter, by default the one of the tests. `root`: the source tree, by default
    this one.
    """

    def __init__(
        self,
        server: RedisServer,
        log: Path,
        python: str = "",
        root: Path = ROOT,
        **settings: str,
    ) -> None:
        self.log = log
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "REDIS_URL": server.url,
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "LOG_FORMAT": "json",
            "MAX_WORKERS": "2",
            "QUEUES": "nap,stubborn",
            **settings,
        }
        with log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [python or sys.executable, str(root / "run_worker.py")],
                cwd=root,
                env=environment,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of one event."""
        whole = [
            json.loads(line)
            for line in self.log.read_text().splitlines(keepends=True)
            if line.startswith("{") and line.endswith("\n")
        ]
        return [line for line in whole if line["event"] == event]

    async def logged(self, event: str) -> dict[str, Any]:
        """The first line of an event, once it is there."""
        await until(lambda: self.lines(event) or self.popen.poll() is not None, 20)
        assert self.lines(event), f"the worker ended: {self.log.read_text()}"
        return self.lines(event)[0]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    async def exit_status(self, seconds: float = 15.0) -> int:
        """Wait for its end."""
        return await asyncio.to_thread(self.popen.wait, seconds)

    def kill(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.kill()
        self.popen.wait(10)


@pytest.fixture
def new_process(server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start workers as processes: `new_process(MAX_WORKERS="1")`."""
    started: list[Process] = []

    def start(**settings: Any) -> Process:
        started.append(Process(server, tmp_path / f"worker-{len(started)}.log", **settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()

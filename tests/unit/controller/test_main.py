"""`python -m controller` as a process: what it waits for, what it refuses, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:PORT"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


@contextmanager
def operator(**environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process with these settings and no others."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "controller"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def log_line(process: subprocess.Popen[str], event: str) -> str:
    """The first line of the log with this event. The test's time-out bounds the wait."""
    assert process.stderr is not None
    for line in process.stderr:
        if f'"{event}"' in line:
            return line
    pytest.fail(f"the operator ended and did not log {event}")


def kubeconfig(folder: Path, port: int) -> str:
    file = folder / "kubeconfig"
    file.write_text(KUBECONFIG.replace("PORT", str(port)))
    return str(file)


def test_without_the_api_server_it_waits_says_so_and_ends_when_told(
    tmp_path: Path, unused_port: int
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        probes = free.getsockname()[1]
    settings = {"PROBE_HOST": "127.0.0.1", "PROBE_PORT": str(probes), "METRICS_PORT": "0"}
    with operator(KUBECONFIG=kubeconfig(tmp_path, unused_port), **settings) as process:
        assert "the API server cannot be reached" in log_line(process, "crd.waiting")
        url = f"http://127.0.0.1:{probes}"
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
            assert answer.read() == b"alive\n"
        with pytest.raises(urllib.error.HTTPError, match=r"503") as error:
            urllib.request.urlopen(f"{url}/readyz", timeout=5)
        with error.value:
            assert b"waiting for the cluster to serve WorkerAutoscalers" in error.value.read()
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 5


def test_without_a_way_to_the_api_server_it_says_what_to_do() -> None:
    with operator(PROBE_PORT="0", METRICS_PORT="0") as process:
        assert process.wait(30) == 2
        assert process.stderr is not None
        assert "set KUBECONFIG" in process.stderr.read()


def test_a_port_that_is_taken_is_told(tmp_path: Path, unused_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        settings = {"PROBE_HOST": "127.0.0.1", "PROBE_PORT": port, "METRICS_PORT": "0"}
        with operator(KUBECONFIG=kubeconfig(tmp_path, unused_port), **settings) as process:
            assert process.wait(30) == 2
            assert process.stderr is not None
            assert "choose another one by PROBE_PORT" in process.stderr.read()

"""Starting and ending `python run.py`: what works at once, and what is said when it cannot."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.integration.api.processes import ROOT, ApiProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer


def test_it_starts_from_the_root_and_ends_with_status_0(
    tmp_path: Path, server: RedisServer
) -> None:
    with ApiProcess(tmp_path / "log", REDIS_URL=server.url) as api:
        assert api.url.startswith("http://127.0.0.1:")
        deadline = time.monotonic() + 10
        while httpx2.get(f"{api.url}/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert httpx2.get(f"{api.url}/docs").status_code == 200
        assert httpx2.get(f"{api.url}/", follow_redirects=False).headers["location"] == "/docs"
        api.terminate()
        assert api.wait() == 0
        assert api.events("api.stopped")


def test_ctrl_c_twice_ends_it_at_once(tmp_path: Path) -> None:
    with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false", SHUTDOWN_DELAY_SECONDS="60") as api:
        assert api.url
        api.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert api.process.poll() is None
        api.process.send_signal(signal.SIGINT)
        assert api.wait(5) == 0


def test_a_taken_port_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with ApiProcess(tmp_path / "log", PORT=port, QUEUE_ENABLED="false") as api:
            assert api.wait() == 2
            assert f"cannot listen on 127.0.0.1:{port} (Address already in use): " in api.log
            assert "Traceback" not in api.log


def test_other_machines_are_let_in_only_on_purpose(tmp_path: Path) -> None:
    with ApiProcess(tmp_path / "log", HOST="0.0.0.0", QUEUE_ENABLED="false") as api:
        assert api.wait() == 2
        assert "ALLOW_ANONYMOUS=true" in api.log
    with ApiProcess(
        tmp_path / "log2", HOST="0.0.0.0", QUEUE_ENABLED="false", ALLOW_ANONYMOUS="true"
    ) as api:
        assert httpx2.get(f"http://127.0.0.1:{api.port}/healthz").status_code == 200


def test_keys_from_the_setting_are_asked_for(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"the-key").hexdigest()
    with ApiProcess(
        tmp_path / "log", HOST="0.0.0.0", QUEUE_ENABLED="false", API_KEYS=f"read:{digest}:tests"
    ) as api:
        url = f"http://127.0.0.1:{api.port}/api/workflows"
        assert httpx2.get(url).status_code == 401
        assert httpx2.get(url, headers={"X-API-Key": "the-key"}).status_code == 200


def test_a_taken_metrics_port_is_a_warning_and_no_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false", METRICS_PORT=port) as api:
            assert httpx2.get(f"{api.url}/healthz").status_code == 200
            [warning] = api.events("metrics.not_served")
            assert warning["error"] == "Address already in use"
            assert "METRICS_PORT" in warning["hint"]


def test_metrics_have_a_port_of_their_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false", METRICS_PORT=str(port)) as api:
        assert httpx2.get(f"{api.url}/metrics").status_code == 404
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            assert b"headrace_http_requests_total" in response.read()


def test_a_silent_reader_of_metrics_is_sent_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false", METRICS_PORT=str(port)) as api:
        assert api.url
        with socket.create_connection(("127.0.0.1", port), timeout=12) as silent:
            assert silent.recv(100) == b""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            assert response.status == 200
        assert "Traceback" not in api.log


def test_what_is_no_http_gets_a_problem_document(tmp_path: Path) -> None:
    with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false") as api:
        with socket.create_connection(("127.0.0.1", api.port), timeout=5) as client:
            client.sendall(b"NONSENSE\r\n\r\n")
            reply = client.makefile("rb").read()
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in reply
        assert b"urn:headrace:problem:bad-request" in reply


def test_a_large_body_is_answered_and_the_connection_lives_on(tmp_path: Path) -> None:
    with (
        ApiProcess(tmp_path / "log", QUEUE_ENABLED="false", MAX_BODY_BYTES="2000") as api,
        httpx2.Client(base_url=api.url) as client,
    ):
        for _ in range(3):
            large = client.post("/api/workflows/hello/execute", content=b"x" * 3_000_000)
            assert large.status_code == 413
            assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("stripped", [True, False])
def test_under_a_path_it_answers_whether_the_proxy_strips_it(
    tmp_path: Path, stripped: bool
) -> None:
    with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false", ROOT_PATH="/headrace") as api:
        prefix = "" if stripped else "/headrace"
        assert httpx2.get(f"{api.url}{prefix}/api/workflows").status_code == 200
        assert "/headrace/openapi.json" in httpx2.get(f"{api.url}{prefix}/docs").text
        root = httpx2.get(f"{api.url}{prefix}/", follow_redirects=False)
        assert root.headers["location"] == "/headrace/docs"
        servers = httpx2.get(f"{api.url}{prefix}/openapi.json").json()["servers"]
        assert servers == [{"url": "/headrace"}]


def test_a_file_named_env_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QUEUE_ENABLED=false\nMAX_WORKERS=5\nQUEUE_ENABLE=true\n")
    folder = str(ROOT / "examples" / "workflows")
    with ApiProcess(tmp_path / "log", cwd=tmp_path, WORKFLOWS_DIR=folder) as api:
        stats = httpx2.get(f"{api.url}/api/workflows/queue/stats").json()
        assert stats == {"enabled": False, "queues": {}}
        [warning] = api.events("settings.near_miss")
        assert "QUEUE_ENABLED" in warning["hint"]


@pytest.mark.parametrize("status", [200, 500])
def test_the_query_of_a_call_is_in_no_log(tmp_path: Path, status: int) -> None:
    """A token often stands there. The HTTP client would log each address at info level."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "workflows"
    folder.mkdir()
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / "calling.yaml").write_text(
            "document: {dsl: '1.0.3', namespace: t, name: calling, version: '1.0.0'}\n"
            "do: [{ask: {call: http, with: {method: GET, endpoint: "
            f"'http://127.0.0.1:{server.server_port}/?token=a-secret'}}}}}}]\n"
        )
        settings = {"QUEUE_ENABLED": "false", "WORKFLOWS_DIR": str(folder), "LOG_LEVEL": "debug"}
        with ApiProcess(tmp_path / "log", settings, HTTP_ALLOW="127.0.0.1") as api:
            reply = httpx2.post(f"{api.url}/api/workflows/calling/execute", json={}, timeout=30)
            assert reply.json()["status"] == ("completed" if status == 200 else "failed")
            api.terminate()
            api.wait()
            assert "a-secret" not in api.log
            assert "httpcore2" not in api.log
        server.shutdown()

"""What comes before a request is answered: its size, its time, and how many connections."""

from __future__ import annotations

import json
import re
import resource
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.integration.api.processes import ApiProcess
from tests.unit.api.harness import write_workflows

if TYPE_CHECKING:
    from collections.abc import Iterator

START = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
HEAD_BYTES = 64 * 1024


@contextmanager
def api_without_queue(tmp_path: Path, **settings: str) -> Iterator[ApiProcess]:
    folder = write_workflows(tmp_path / "workflows")
    settings = {"QUEUE_ENABLED": "false", "WORKFLOWS_DIR": str(folder), **settings}
    with ApiProcess(tmp_path / "log", settings) as api:
        assert api.port
        yield api


def connect(api: ApiProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", api.port), timeout=30)


def reply(client: socket.socket) -> tuple[int, dict[str, object]]:
    """The status and the body of what comes until the server closes; (0, {}) for nothing."""
    try:
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    except ConnectionResetError:  # closed while more was on its way
        return 0, {}
    return (int(head.split()[1]), json.loads(body)) if head else (0, {})


def resident_mib(api: ApiProcess) -> float:
    status = Path(f"/proc/{api.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


def field(size: int, name: bytes = b"x-a") -> bytes:
    """A header field of so many bytes."""
    return name + b": " + b"v" * (size - len(name) - 4) + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [
        START + field(HEAD_BYTES + 100),
        START + field(1000) * 70,
        b"GET /healthz?" + b"q" * HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n",
        START + b"a:\r\n" * 1000,
    ],
    ids=["a long field", "many fields", "a long address", "a thousand tiny fields"],
)
def test_a_head_that_is_too_large_is_refused(tmp_path: Path, head: bytes) -> None:
    with api_without_queue(tmp_path) as api, connect(api) as client:
        client.sendall(head + b"Connection: close\r\n\r\n")
        status, problem = reply(client)
        assert status == 431
        assert problem["type"] == "urn:headrace:problem:head-too-large"
        api.terminate()
        api.wait()
        [line] = api.events("http.refused")
        assert (line["status"], line["request_id"]) == (431, problem["request_id"])


def test_a_head_of_almost_64_kib_is_served(tmp_path: Path) -> None:
    fields = field(20_000) * 3 + field(5_000) + b"Connection: close\r\n\r\n"
    with api_without_queue(tmp_path) as api, connect(api) as client:
        client.sendall(START + fields)
        assert reply(client)[0] == 200


@pytest.mark.parametrize("endless", [field(2**16)[:-2], field(1000)])
def test_a_head_without_end_takes_no_memory(tmp_path: Path, endless: bytes) -> None:
    with api_without_queue(tmp_path) as api:
        before = resident_mib(api)
        for _ in range(4):
            with connect(api) as client:
                client.sendall(START + b"x-endless: ")
                for _ in range(20_000_000 // len(endless)):
                    client.sendall(endless)
                assert reply(client)[0] == 431
        assert resident_mib(api) - before < 10
        assert httpx2.get(f"{api.url}/healthz").status_code == 200


def test_fields_behind_a_body_are_left_out(tmp_path: Path) -> None:
    with api_without_queue(tmp_path) as api, connect(api) as client:
        client.sendall(
            b"POST /api/workflows/my-workflow/execute HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n2\r\n{}\r\n0\r\nX-Request-ID: from-behind\r\n\r\n"
        )
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"from-behind" not in answer


def test_extensions_of_a_chunk_have_an_end(tmp_path: Path) -> None:
    with api_without_queue(tmp_path) as api, connect(api) as client:
        client.sendall(
            b"POST /api/workflows/my-workflow/execute HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=" + b"y" * 200_000
        )
        assert reply(client)[0] == 431


def test_a_request_that_is_no_http_does_not_take_the_answer_to_the_one_before(
    tmp_path: Path,
) -> None:
    body = b'{"variables": {"a": 1}}'
    with api_without_queue(tmp_path) as api, connect(api) as client:
        client.sendall(
            b"POST /api/workflows/my-workflow/execute HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
            + b"NONSENSE\r\n\r\n"
        )
        status, answer = reply(client)
    assert status == 200
    assert answer["status"] == "completed"


def test_requests_that_wait_on_a_connection_are_limited(tmp_path: Path) -> None:
    with api_without_queue(tmp_path) as api, connect(api) as client:
        client.sendall((START + b"\r\n") * 3000)
        answered = client.makefile("rb").read().count(b"HTTP/1.1 200 ")
        assert 1 <= answered <= 65
        assert httpx2.get(f"{api.url}/healthz").status_code == 200


def test_a_connection_has_a_time_for_its_request(tmp_path: Path) -> None:
    with api_without_queue(tmp_path) as api, ExitStack() as stack:
        silent, half, dripping = (stack.enter_context(connect(api)) for _ in range(3))
        half.sendall(START)
        dripping.sendall(START + b"\r\n")
        kept_alive = dripping.makefile("rb", buffering=0)
        while b'"ok"' not in kept_alive.read(10_000):
            pass
        dripping.sendall(b"GET / HTTP/1.1\r\nx-slow: ")
        began = time.monotonic()
        dripping.settimeout(0.25)
        dripped = b""
        while not dripped and time.monotonic() - began < 20:
            dripping.send(b"x")
            try:
                dripped = dripping.recv(10_000)
            except TimeoutError:
                continue
        assert dripped.startswith(b"HTTP/1.1 408 ")
        assert reply(silent) == (0, {})
        status, problem = reply(half)
        assert status == 408
        assert problem["type"] == "urn:headrace:problem:request-timeout"
        assert 8 <= time.monotonic() - began <= 15


def test_idle_connections_use_up_neither_descriptors_nor_workflows(tmp_path: Path) -> None:
    folder = write_workflows(tmp_path / "workflows")
    settings = {"QUEUE_ENABLED": "false", "WORKFLOWS_DIR": str(folder)}
    with ApiProcess(tmp_path / "log", settings, descriptors=(512, 512)) as api, ExitStack() as idle:
        assert api.events("api.few_descriptors") or api.port
        for _ in range(700):
            idle.enter_context(connect(api))
        (folder / "another.yaml").write_text(
            (folder / "my-workflow.yaml").read_text().replace("my-workflow", "another")
        )
        deadline = time.monotonic() + 10
        while True:
            assert httpx2.get(f"{api.url}/healthz").status_code == 200
            found = httpx2.get(f"{api.url}/api/workflows").json()["workflows"]
            names = {workflow["workflow_id"] for workflow in found}
            assert {"my-workflow", "waiting", "failing"} <= names
            if "another" in names:
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert "Too many open files" not in api.log
        assert api.events("api.few_descriptors")
        assert sum(line["closed"] for line in api.events("api.connections_full")) > 400


def test_the_limit_of_descriptors_is_raised_as_far_as_is_allowed(tmp_path: Path) -> None:
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 8192)
    with ApiProcess(
        tmp_path / "log", QUEUE_ENABLED="false", MAX_CONNECTIONS="700", descriptors=(256, hard)
    ) as api:
        assert api.port
        soft, _ = resource.prlimit(api.process.pid, resource.RLIMIT_NOFILE)
        assert 700 < soft <= hard
        assert not api.events("api.few_descriptors")


def test_probes_are_answered_when_every_place_is_taken(tmp_path: Path) -> None:
    body = b'{"variables": {}}'
    execute = (
        b"POST /api/workflows/waiting/execute HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    with (
        api_without_queue(tmp_path, MAX_CONNECTIONS="6", INLINE_MAX="6") as api,
        ExitStack() as stack,
    ):
        for _ in range(6):
            stack.enter_context(connect(api)).sendall(execute)
        time.sleep(0.5)
        for path in ("/healthz", "/readyz"):
            assert httpx2.get(f"{api.url}{path}").status_code == 200
        refused = httpx2.get(f"{api.url}/api/workflows")
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:headrace:problem:too-many-connections"
        assert int(refused.headers["retry-after"]) >= 1

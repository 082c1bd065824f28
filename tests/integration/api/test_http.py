"""What is no proper request is refused, and no answer follows what `Host` says."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.integration.api.processes import ApiProcess
from tests.unit.api.harness import write_workflows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXECUTE = "POST /api/workflows/my-workflow/execute HTTP/1.1"
JSON = "Content-Type: application/json"
HOST = "Host: localhost"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    folder: Path = tmp_path_factory.mktemp("api")
    workflows = str(write_workflows(folder / "workflows"))
    with ApiProcess(folder / "log", QUEUE_ENABLED="false", WORKFLOWS_DIR=workflows) as process:
        yield process


def ask(api: ApiProcess, *lines: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Send exactly this, and return the answer's status, headers and body."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as client:
        client.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        head, _, rest = client.makefile("rb").read().partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
    return int(first.split()[1]), headers, rest


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [HOST, HOST],
        [HOST, "Host: evil.example"],
        ["Host: a b"],
        ["Host: evil.example/path"],
        ["Host: user@localhost"],
        ["Host: ["],
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/api/workflows"])
def test_a_request_names_one_host(api: ApiProcess, hosts: list[str], path: str) -> None:
    status, headers, body = ask(api, f"GET {path} HTTP/1.1", *hosts)
    assert status == 400
    assert b"urn:headrace:problem:bad-request" in body
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "my_service", ""]
)
def test_a_host_of_any_proper_form_is_understood(api: ApiProcess, host: str) -> None:
    assert ask(api, "GET /healthz HTTP/1.1", f"Host: {host}")[0] == 200


def test_http_1_0_needs_no_host(api: ApiProcess) -> None:
    assert ask(api, "GET /healthz HTTP/1.0")[0] == 200


@pytest.mark.parametrize(
    "fields",
    [
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ],
    ids=str,
)
def test_an_unknown_transfer_encoding_is_not_taken_for_the_body_itself(
    api: ApiProcess, fields: list[str]
) -> None:
    status, headers, body = ask(api, EXECUTE, HOST, JSON, *fields, body=b"2\r\n{}\r\n0\r\n\r\n")
    # The parser itself refuses some of them, before anything else is looked at.
    assert (status, headers["connection"]) in ((501, "close"), (400, "close"))
    if status == 501:
        assert b"urn:headrace:problem:transfer-encoding-unknown" in body


@pytest.mark.parametrize("coding", ["gzip", "identity, gzip", "x"])
def test_an_encoded_body_is_refused(api: ApiProcess, coding: str) -> None:
    fields = [f"Content-Encoding: {coding}", "Content-Length: 2"]
    status, headers, body = ask(api, EXECUTE, HOST, JSON, *fields, body=b"{}")
    assert (status, headers["accept-encoding"]) == (415, "identity")
    assert b"urn:headrace:problem:unsupported-media-type" in body


def test_a_body_that_is_chunked_or_not_encoded_is_taken(api: ApiProcess) -> None:
    chunked = ask(
        api, EXECUTE, HOST, JSON, "Transfer-Encoding: Chunked", body=b"2\r\n{}\r\n0\r\n\r\n"
    )
    plain = ask(
        api, EXECUTE, HOST, JSON, "Content-Encoding: identity", "Content-Length: 2", body=b"{}"
    )
    assert (chunked[0], plain[0]) == (200, 200)


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("/api/workflows/", "/api/workflows"),
        ("/api/workflows/?a=b%20c", "/api/workflows?a=b%20c"),
        ("/api/tasks/x%0d%0aSet-Cookie:y/", "/api/tasks/x%0D%0ASet-Cookie%3Ay"),
        ("/docs/", "/docs"),
    ],
)
def test_a_last_slash_leads_to_the_same_server(api: ApiProcess, asked: str, location: str) -> None:
    status, headers, _ = ask(api, f"GET {asked} HTTP/1.1", "Host: evil.example")
    assert (status, headers["location"]) == (307, location)


@pytest.mark.parametrize("asked", ["//evil.example/", "/nothing/", "//evil.example/api/workflows/"])
def test_a_last_slash_leads_nowhere_else(api: ApiProcess, asked: str) -> None:
    assert ask(api, f"GET {asked} HTTP/1.1", HOST)[0] == 404


@pytest.mark.parametrize("prefix", ["", "/headrace"])
def test_a_last_slash_leads_back_under_the_path_of_a_proxy(tmp_path: Path, prefix: str) -> None:
    with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false", ROOT_PATH="/headrace") as published:
        _, headers, _ = ask(published, f"GET {prefix}/api/workflows/ HTTP/1.1", HOST)
        assert headers["location"] == "/headrace/api/workflows"


def test_a_name_that_leads_to_an_open_api_is_refused(tmp_path: Path) -> None:
    """A page's own name may lead to the machine that Compose publishes the API on."""
    settings = {"QUEUE_ENABLED": "false", "HOST": "0.0.0.0", "ALLOW_ANONYMOUS": "true"}
    page = ("Host: evil.example:8000", "Origin: http://evil.example:8000", JSON)
    with ApiProcess(tmp_path / "log", settings, ALLOWED_HOSTS="api,*.internal.example") as open_api:
        for lines in ((EXECUTE, "Content-Length: 2"), ("GET /api/workflows HTTP/1.1",)):
            status, _, body = ask(open_api, *lines, *page, body=b"{}" if len(lines) > 1 else b"")
            assert status == 403
            assert b"urn:headrace:problem:cross-site" in body
        for host in ("api:8000", "a.internal.example", "127.0.0.1:8000", "localhost"):
            assert ask(open_api, "GET /api/workflows HTTP/1.1", f"Host: {host}")[0] == 200

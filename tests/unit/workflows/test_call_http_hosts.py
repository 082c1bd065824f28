"""What keeps `call: http` from calling where it must not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headrace.workflows import HttpPolicy, Runtime
from tests.unit.workflows.harness import Bench, calling
from tests.unit.workflows.web import Answer, Web, json

COMMUNICATION = "https://open-workflow-specification.org/spec/1.0.0/errors/communication"
AUTHORIZATION = "https://open-workflow-specification.org/spec/1.0.0/errors/authorization"


@pytest.fixture
async def guarded() -> AsyncIterator[Bench]:
    """A bench with the default policy."""
    runtime = Runtime()
    yield Bench(runtime)
    await runtime.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "169.254.169.254", "[::ffff:7f00:1]"]
)
async def test_this_machine_is_refused_by_default(guarded: Bench, web: Web, host: str) -> None:
    error = await guarded.error(calling(f"http://{host}:{web.port}/"))
    assert (error.type, error.status) == (AUTHORIZATION, 403)
    assert "HTTP_ALLOW" in error.detail
    assert not error.retryable
    assert web.connections == 0


async def test_a_name_that_changes_its_meaning_does_not_get_through(
    guarded: Bench, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was checked is the one that is connected to: no second look-up."""
    answers = ["93.184.216.34", "127.0.0.1"]
    connected: list[str] = []
    loop = asyncio.get_running_loop()

    async def look_up(host: str, port: int, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    async def connect(_factory: Any, host: str, port: int, **_: Any) -> Any:
        connected.append(host)
        raise OSError("no network in tests")

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    monkeypatch.setattr(loop, "create_connection", connect)
    error = await guarded.error(calling(f"http://rebinding.example:{web.port}/"))
    assert error.type == COMMUNICATION
    assert connected == ["93.184.216.34"]
    assert answers == ["127.0.0.1"]

    error = await guarded.error(calling(f"http://rebinding.example:{web.port}/"))
    assert error.type == AUTHORIZATION
    assert connected == ["93.184.216.34"]


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "100.64.0.1", "fd00::8", "192.0.0.192", "fd20:ce::254", "64:ff9b::a00:1",
     "::ffff:10.0.0.1", "2002:a00:1::"],
)  # fmt: skip
async def test_a_name_or_a_redirect_into_a_private_network_is_refused(
    web: Web, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def look_up(host: str, port: int, **_: Any) -> Any:
        found = {"inner.example": address}.get(host, host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))]

    async def connect_here(factory: Any, host: str, port: int, **options: Any) -> Any:
        assert host == "127.0.0.1"
        return await connect(factory, host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    monkeypatch.setattr(loop, "create_connection", connect_here)
    web.routes["/"] = Answer(302, headers=(("Location", "http://inner.example/"),))
    runtime = Runtime(HttpPolicy(allow=("*", "127.0.0.1")))
    for url in ("http://inner.example/", f"{web.url}/"):
        error = await Bench(runtime).error(calling(url, redirect=True))
        assert (error.type, error.retryable) == (AUTHORIZATION, False)
        assert f"inner.example ({address}) may not be called" in error.detail
    await runtime.close()


async def test_a_name_is_called_by_its_permitted_address(
    bench: Bench, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(host: str, port: int, **_: Any) -> Any:
        assert host == "some.example"
        addresses = ("127.0.0.9", "127.0.0.1")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    web.routes["/"] = json({"ok": True})
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert await bench.output(calling(f"http://some.example:{web.port}/")) == {"ok": True}
    assert web.seen[0].headers["host"] == f"some.example:{web.port}"


async def test_a_name_that_is_not_known_is_a_communication_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    error = await bench.error(calling("http://unknown.example/"))
    assert (error.type, error.status) == (COMMUNICATION, 503)
    assert "unknown.example was not resolved" in error.detail


async def test_a_proxy_of_the_environment_is_not_used(
    bench: Bench, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1/")
    web.routes["/"] = json(1)
    assert await bench.output(calling(f"{web.url}/")) == 1

"""SIGTERM under load: clients that never retry see no broken request, and the API exits 0."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.integration.api.processes import ApiProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer

CLIENTS = 48
BODY = b'{"variables": {"param1": "value1"}}'
REQUEST = (
    b"POST /api/workflows/my_workflow/execute?async_execute=true HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
) + BODY


@dataclass
class Seen:
    """What the clients of one stop saw."""

    answered: int = 0
    told_to_close: int = 0
    refused: int = 0
    broken: list[str] = field(default_factory=list)


async def client(port: int, seen: Seen, pause_seconds: float = 0.0) -> None:
    """Send requests on a kept connection until new connections are refused. Never retries."""
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while True:
        if streams is None:
            try:
                streams = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                seen.refused += 1
                return
        reader, writer = streams
        try:
            # In two pieces: a stop may come between them.
            writer.write(REQUEST[:20])
            await asyncio.sleep(0)
            writer.write(REQUEST[20:])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            [length] = [
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.startswith(b"content-length:")
            ]
            await reader.readexactly(length)
            assert head.startswith(b"http/1.1 202"), head
        except (OSError, EOFError, AssertionError) as error:
            seen.broken.append(repr(error))
            writer.close()
            streams = None
            continue
        seen.answered += 1
        if b"connection: close" in head:
            seen.told_to_close += 1
            writer.close()
            streams = None
        await asyncio.sleep(pause_seconds)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.5, 1.0])
async def test_no_request_is_broken_by_a_stop(
    server: RedisServer, tmp_path: Path, delay_seconds: float
) -> None:
    settings = {"REDIS_URL": server.url, "SHUTDOWN_DELAY_SECONDS": str(delay_seconds)}
    with ApiProcess(tmp_path / "log", settings) as api:
        port = await asyncio.to_thread(lambda: api.port)
        seen = Seen()
        # A third of them is slower, so that some connections are idle at each moment.
        pauses = [0.3 if number % 3 == 0 else 0.0 for number in range(CLIENTS)]
        clients = [asyncio.create_task(client(port, seen, pause)) for pause in pauses]
        await asyncio.sleep(0.6)
        api.terminate()
        started = time.monotonic()
        status = await asyncio.to_thread(api.wait)
        took = time.monotonic() - started
        async with asyncio.timeout(10):
            await asyncio.gather(*clients)
    assert seen.broken == []
    assert status == 0
    assert seen.refused == CLIENTS
    assert seen.told_to_close >= CLIENTS
    assert seen.answered > CLIENTS
    assert took >= delay_seconds
    # Whoever was told `queued` finds it in Redis.
    assert server.client.llen("{headrace}:queue:workflow_execute") == seen.answered


async def test_while_it_stops_readiness_says_so_and_requests_are_served(
    server: RedisServer, tmp_path: Path
) -> None:
    settings = {"REDIS_URL": server.url, "SHUTDOWN_DELAY_SECONDS": "1.5"}
    with ApiProcess(tmp_path / "log", settings) as api:
        url = await asyncio.to_thread(lambda: api.url)
        async with httpx2.AsyncClient(base_url=url) as http:
            kept = await http.get("/healthz")
            assert "connection" not in kept.headers
            api.terminate()
            await asyncio.sleep(0.3)
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
            assert ready.headers["connection"] == "close"
            execute = await http.post("/api/workflows/hello/execute", json={"variables": {}})
            assert execute.status_code == 202
            assert (await http.get("/healthz")).status_code == 200
        assert await asyncio.to_thread(api.wait) == 0


async def test_a_running_request_ends_before_the_process_does(tmp_path: Path) -> None:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "nap.yaml").write_text(
        "document: {dsl: '1.0.3', namespace: tests, name: nap, version: '1.0.0'}\n"
        "do: [{pause: {wait: {milliseconds: 1500}}}]\n"
    )
    settings = {"QUEUE_ENABLED": "false", "WORKFLOWS_DIR": str(workflows)}
    with ApiProcess(tmp_path / "log", settings) as api:
        url = await asyncio.to_thread(lambda: api.url)
        async with httpx2.AsyncClient(base_url=url, timeout=20) as http:
            napping = asyncio.create_task(http.post("/api/workflows/nap/execute", json={}))
            await asyncio.sleep(0.3)
            api.terminate()
            response = await napping
        assert response.json()["status"] == "completed"
        assert response.headers["connection"] == "close"
        assert await asyncio.to_thread(api.wait) == 0


async def test_an_idle_connection_does_not_hold_the_process(tmp_path: Path) -> None:
    with ApiProcess(tmp_path / "log", QUEUE_ENABLED="false") as api:
        port = await asyncio.to_thread(lambda: api.port)
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        idle[1][1].write(b"GET /healthz HTTP/1.1\r\nhost: never-finished")
        api.terminate()
        assert await asyncio.to_thread(api.wait, 8.0) == 0
        for _, writer in idle:
            writer.close()

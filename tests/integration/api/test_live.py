"""Live streams: of one task, and of all that happens."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.requests import Request

from headrace.taskqueue import Completed, TaskQueue
from headrace_api.http import sse
from tests.integration.api.processes import ApiProcess
from tests.integration.taskqueue.rig import until
from tests.unit.api.harness import ApiUnderTest, check

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
async def client(
    server: RedisServer, tmp_path: Path, worker: HandWorker
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an API process that may have three streams."""
    settings = {"REDIS_URL": server.url, "MAX_STREAMS": "3"}
    with ApiProcess(tmp_path / "log", settings) as process:
        async with httpx2.AsyncClient(base_url=process.url, timeout=30) as found:
            found.process = process  # type: ignore[attr-defined]
            yield found


async def submit(client: httpx2.AsyncClient) -> str:
    body = {"payload": {"url": "a.jpg"}}
    response = await client.post("/api/tasks/resize_image", json=body)
    assert response.status_code == 202, response.text
    task_id: str = response.json()["task_id"]
    return task_id


class Stream:
    """The events of a response."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, *names: str) -> dict[str, Any]:
        """The next event of these names, with what it is called; empty at the end."""
        found: dict[str, Any] = {}
        async for line in self._lines:
            field, _, value = line.partition(": ")
            if line:
                found[field] = json.loads(value) if field == "data" else value
            elif found.get("event") in names:
                return found
            else:
                found = {}
        return {}


@asynccontextmanager
async def stream(
    client: httpx2.AsyncClient, address: str, last: str | None = None
) -> AsyncIterator[Stream]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with client.stream("GET", address, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        yield Stream(response)


async def test_a_task_is_followed_to_its_end(
    client: httpx2.AsyncClient, worker: HandWorker
) -> None:
    task_id = await submit(client)
    address, names = f"/api/tasks/{task_id}/live", ("state", "progress", "end")
    async with asyncio.timeout(20), stream(client, address) as events:
        first = await events.next(*names)
        assert (first["event"], first["data"]["status"]) == ("state", "queued")
        task = await worker.claim()
        running = await events.next(*names)
        assert (running["event"], running["data"]["status"]) == ("state", "running")
        await worker.consumer.progress(task, 40.0, "downloading")
        progress = await events.next(*names)
        assert progress["event"] == "progress"
        assert progress["data"] == {"percent": 40.0, "message": "downloading"}
        # Who comes back sees nothing twice.
        async with stream(client, address, progress["id"]) as again:
            await asyncio.sleep(1.2)
            await settle(worker, task)
            ended = await again.next(*names)
        assert ended["event"] == "end"
        assert ended["data"]["result"] == 7
        assert await events.next(*names) == ended
        assert await events.next(*names) == {}
    seen = await client.get(address, headers={"Last-Event-ID": ended["id"]})
    assert seen.status_code == 204
    check(await client.get(f"/api/tasks/{UNKNOWN}/live"), "task-not-found")


async def settle(worker: HandWorker, task: Any) -> None:
    await worker.consumer.settle([Completed(task, b"7", 5)])


async def test_stats_come_each_second_and_ends_by_filter(
    client: httpx2.AsyncClient, worker: HandWorker, queue: TaskQueue
) -> None:
    async with (
        asyncio.timeout(20),
        stream(client, "/api/live") as every,
        stream(client, "/api/live?status=cancelled&type=resize_image") as some,
    ):
        stats = await every.next("stats")
        assert [found["id"] for found in stats["data"]["workers"]] == ["hand-worker"]
        await some.next("stats")
        first, second = await submit(client), await submit(client)
        await worker.complete()
        await queue.cancel(second)
        found: list[dict[str, Any]] = []
        while len(found) < 2:
            found += (await every.next("ends"))["data"]["ends"]
        assert found == [
            {"task_id": first, "type": "resize_image", "status": "completed"},
            {"task_id": second, "type": "resize_image", "status": "cancelled"},
        ]
        ends = await some.next("ends")
        assert ends["data"] == {"ends": [found[1]], "more": 0}
    async with asyncio.timeout(20), stream(client, "/api/live", ends["id"]) as back:
        await back.next("stats")
        await queue.cancel(await submit(client))
        assert (await back.next("ends", "gap"))["event"] == "ends"
    async with asyncio.timeout(20), stream(client, "/api/live", ends["id"]) as late:
        assert (await late.next("ends", "gap"))["data"] == {"after": ends["id"]}


async def test_streams_are_bounded_and_end_with_the_server(
    client: httpx2.AsyncClient, server: RedisServer
) -> None:
    async with (
        asyncio.timeout(20),
        stream(client, "/api/live") as first,
        stream(client, "/api/live"),
    ):
        async with stream(client, "/api/live"):
            check(await client.get("/api/live"), "streams-busy")
        refused = await client.get("/api/live?status=done")
        check(refused, "invalid-request")
        assert refused.json()["errors"][0]["parameter"] == "status"
        head = await client.head("/api/live")
        assert (head.status_code, head.content) == (200, b"")

        async def opened() -> int:
            [(_, count)] = server.client.pubsub_numsub("{headrace}:ends")
            return int(count)

        await until(opened, lambda count: count == 1)
        client.process.terminate()  # type: ignore[attr-defined]
        assert await first.next("never") == {}
    assert client.process.wait() == 0  # type: ignore[attr-defined]


async def test_a_stream_without_events_has_a_heartbeat(
    api: ApiUnderTest, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 1.5)
    sent: list[bytes] = []

    async def nothing() -> AsyncGenerator[bytes]:
        for _ in range(5):
            yield b""
            await asyncio.sleep(0.5)

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    scope: Any = {"type": "http", "headers": []}
    request = Request(scope, receive)
    await sse.EventStream(api.api.streams, request, nothing())(scope, receive, send)
    assert sent == [b"", b"retry: 2000\n\n", b": ping\n\n", b""]

"""Waiting for tasks to end over HTTP: one of them, and many."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from headrace_api.routes import waits
from tests.integration.api.processes import ApiProcess
from tests.integration.taskqueue.rig import until
from tests.unit.api.harness import ApiUnderTest, api_settings, check, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import ServerFactory
    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"


async def submit(api: ApiUnderTest | httpx2.AsyncClient) -> str:
    response = await api.post("/api/tasks/resize_image", json={"payload": {"url": "a.jpg"}})
    assert response.status_code == 202, response.text
    task_id: str = response.json()["task_id"]
    return task_id


def get(api: ApiUnderTest | httpx2.AsyncClient, task_id: str, seconds: int) -> Any:
    """A request that waits, under way."""
    request = api.get(f"/api/tasks/{task_id}", headers={"Prefer": f"wait={seconds}"})
    return asyncio.create_task(request)


async def held(api: ApiUnderTest, count: int) -> None:
    """Wait until so many requests wait."""

    async def now() -> int:
        return api.api.waits.held.count

    await until(now, lambda found: found == count)


async def subscribers(server: RedisServer) -> int:
    [(_, count)] = server.client.pubsub_numsub("{headrace}:ends")
    return int(count)


@pytest.fixture
async def few(server: RedisServer, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """An API that holds two requests."""
    async with running(api_settings(tmp_path, server.url, max_waits=2)) as found:
        yield found


@pytest.mark.parametrize("address", ["/api/tasks", "/api/workflows/tasks"])
async def test_a_record_comes_once_its_task_has_ended(
    api: ApiUnderTest, worker: HandWorker, address: str
) -> None:
    task_id = await submit(api)
    request = asyncio.create_task(api.get(f"{address}/{task_id}", headers={"Prefer": "wait=30"}))
    await held(api, 1)
    await worker.complete(b"7")
    began = time.monotonic()
    response = await request
    assert time.monotonic() - began < 0.5
    assert response.json()["result"] == 7
    assert response.headers["preference-applied"] == "wait=30"
    again = await api.get(f"{address}/{task_id}", headers={"Prefer": "wait=600"})
    assert again.headers["preference-applied"] == "wait=60"
    await held(api, 0)


async def test_when_the_time_is_over_the_record_comes_as_it_is(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    task_id = await submit(api)
    began = time.monotonic()
    response = await get(api, task_id, 1)
    assert 0.9 < time.monotonic() - began < 3
    assert (response.status_code, response.json()["status"]) == (200, "queued")
    assert response.headers["preference-applied"] == "wait=1"


async def test_who_does_not_ask_to_wait_does_not(api: ApiUnderTest, worker: HandWorker) -> None:
    task_id = await submit(api)
    for headers in ({}, {"Prefer": "wait=soon"}):
        response = await api.get(f"/api/tasks/{task_id}", headers=headers)
        assert "preference-applied" not in response.headers
    check(await get(api, UNKNOWN, 30), "task-not-found")


async def test_all_of_many_tasks_are_waited_for(api: ApiUnderTest, worker: HandWorker) -> None:
    task_ids = [await submit(api) for _ in range(3)]
    ids = {"ids": [task_ids[2].upper(), task_ids[0], task_ids[1], UNKNOWN, "x"]}
    request = asyncio.create_task(api.post("/api/tasks/wait", json=ids))
    for number in range(3):
        await held(api, 1)
        await worker.complete(b"%d" % number)
    response = await request
    body = response.json()
    assert [(task["task_id"], task["result"]) for task in body["tasks"]] == [
        (task_ids[2], 2),
        (task_ids[0], 0),
        (task_ids[1], 1),
    ]
    assert (body["left"], body["not_found"]) == ([], [UNKNOWN, "x"])
    assert response.headers["preference-applied"] == "wait=10"


async def test_any_of_many_tasks_is_waited_for(api: ApiUnderTest, worker: HandWorker) -> None:
    first, second = [await submit(api) for _ in range(2)]
    wanted = {"ids": [second, first], "for": "any"}
    request = asyncio.create_task(api.post("/api/tasks/wait", json=wanted))
    await held(api, 1)
    await worker.complete()
    body = (await request).json()
    assert [task["task_id"] for task in body["tasks"]] == [first]
    assert body["left"] == [second]
    # What has ended already is answered at once.
    began = time.monotonic()
    assert (await api.post("/api/tasks/wait", json=wanted)).json() == body
    wanted["for"] = "all"
    rest = await api.post("/api/tasks/wait", json=wanted, headers={"Prefer": "wait=0"})
    assert rest.json() == body
    assert time.monotonic() - began < 1


async def test_records_that_do_not_fit_are_left(
    api: ApiUnderTest, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "MAX_RESULT_BYTES", 1000)
    task_ids = [await submit(api) for _ in range(3)]
    for _ in task_ids:
        await worker.complete(b'"%s"' % (b"x" * 600))
    body = (await api.post("/api/tasks/wait", json={"ids": task_ids})).json()
    assert [task["task_id"] for task in body["tasks"]] == task_ids[:2]
    assert body["left"] == task_ids[2:]


async def test_what_is_wrong_with_a_wait_is_said(api: ApiUnderTest) -> None:
    bodies: list[dict[str, Any]] = [{}, {"ids": []}, {"ids": [UNKNOWN] * 1001}, {"ids": [7]}]
    for wrong in bodies:
        response = await api.post("/api/tasks/wait", json=wrong)
        check(response, "invalid-request")
    response = await api.post("/api/tasks/wait", json={"ids": [UNKNOWN], "for": "some"})
    assert response.json()["errors"] == [{"detail": "it must be all or any", "pointer": "/for"}]
    check(await api.get("/api/tasks/wait"), "task-not-found")


async def test_only_so_many_requests_wait(few: ApiUnderTest, worker: HandWorker) -> None:
    task_id, other = await submit(few), await submit(few)
    waiting = [get(few, task_id, 30) for _ in range(2)]
    await held(few, 2)
    for refused in (
        await get(few, other, 30),
        await few.post("/api/tasks/wait", json={"ids": [other]}),
    ):
        check(refused, "waits-busy")
        assert int(refused.headers["retry-after"]) > 0
    await worker.complete()
    assert [(await request).status_code for request in waiting] == [200, 200]
    # What has ended needs no place.
    few.api.waits.held.most = 0
    assert (await get(few, task_id, 30)).status_code == 200
    few.api.waits.held.most = 2
    few.api.waits.max_tasks = 1
    check(await few.post("/api/tasks/wait", json={"ids": [other, await submit(few)]}), "waits-busy")


async def test_all_waits_share_a_subscription_that_ends_with_them(
    api: ApiUnderTest, worker: HandWorker, server: RedisServer
) -> None:
    assert await subscribers(server) == 0
    task_ids = [await submit(api) for _ in range(3)]
    waiting = [get(api, task_id, 30) for task_id in task_ids]
    await held(api, 3)
    await until(lambda: subscribers(server), lambda count: count == 1)
    for _ in task_ids:
        await worker.complete()
    assert {(await request).json()["status"] for request in waiting} == {"completed"}
    await until(lambda: subscribers(server), lambda count: count == 0)


# With a process


async def test_a_client_that_goes_away_waits_no_more(
    server: RedisServer, tmp_path: Path, worker: HandWorker
) -> None:
    with ApiProcess(tmp_path / "log", {"REDIS_URL": server.url}) as process:
        async with httpx2.AsyncClient(base_url=process.url) as client:
            task_id = await submit(client)
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(
                    f"/api/tasks/{task_id}", headers={"Prefer": "wait=60"}, timeout=0.5
                )
        await until(lambda: subscribers(server), lambda count: count == 0)


async def test_a_stop_answers_everybody_at_once(
    server: RedisServer, tmp_path: Path, worker: HandWorker
) -> None:
    settings = {"REDIS_URL": server.url, "SHUTDOWN_DELAY_SECONDS": "3"}
    with ApiProcess(tmp_path / "log", settings) as process:
        async with httpx2.AsyncClient(base_url=process.url, timeout=30) as client:
            task_id = await submit(client)
            many = client.post(
                "/api/tasks/wait", json={"ids": [task_id]}, headers={"Prefer": "wait=60"}
            )
            waiting = [get(client, task_id, 60) for _ in range(5)]
            waiting.append(asyncio.create_task(many))
            await until(lambda: subscribers(server), lambda count: count == 1)
            await asyncio.sleep(0.3)
            began = time.monotonic()
            process.terminate()
            replies = [await request for request in waiting]
            replies.append(await get(client, task_id, 60))
            assert time.monotonic() - began < 2
        for reply in replies:
            assert reply.status_code == 200
            assert "preference-applied" not in reply.headers
            assert reply.headers["retry-after"] == "1"
        assert process.wait() == 0


@pytest.mark.parametrize("misfortune", ["restart", "subscription"])
async def test_every_waiter_is_answered_whatever_becomes_of_redis(
    new_server: ServerFactory, tmp_path: Path, misfortune: str
) -> None:
    server = new_server(appendfsync="always")
    with ApiProcess(tmp_path / "log", {"REDIS_URL": server.url}) as process:
        async with httpx2.AsyncClient(base_url=process.url, timeout=30) as client:
            task_ids = await submit_known(client, server, 20)
            waiting = [get(client, task_id, 20) for task_id in task_ids]
            await until(lambda: subscribers(server), lambda count: count == 1)
            await asyncio.sleep(0.3)
            if misfortune == "restart":
                server.kill()
            else:
                server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            if misfortune == "restart":
                server.start()
            for task_id in task_ids:
                end_unheard(server, task_id)
            replies = [await request for request in waiting]
    assert [reply.json()["task_id"] for reply in replies] == task_ids
    assert {reply.json()["status"] for reply in replies} == {"completed"}


async def submit_known(client: httpx2.AsyncClient, server: RedisServer, count: int) -> list[str]:
    """Tasks of a built-in type, which an API knows without a worker."""
    tasks = [{"payload": {"workflow_id": "hello"}} for _ in range(count)]
    response = await client.post("/api/tasks/workflow_execute/batch", json={"tasks": tasks})
    assert response.status_code == 202, response.text
    return [task["task_id"] for task in response.json()["tasks"]]


def end_unheard(server: RedisServer, task_id: str) -> None:
    """End a task without a message."""
    server.client.hset(f"{{headrace}}:task:{task_id}", "s", "completed")
    server.client.expire(f"{{headrace}}:task:{task_id}", 3600)

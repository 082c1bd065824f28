"""Redis gone or hanging: each request is answered in time, and nothing runs twice."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from headrace.handlers import Context, handler
from headrace.taskqueue import TaskQueue, TaskStatus
from tests.unit.api.harness import ApiUnderTest, api_settings, check, running

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.servers import RedisServer

LIMIT_SECONDS = 3.0

ran: list[str] = []


@handler("counted")
async def counted(ctx: Context, payload: Any) -> None:
    ran.append(ctx.task_id)


@handler("slow")
async def slow(ctx: Context, payload: float) -> None:
    await asyncio.sleep(payload)


async def timed(call: Awaitable[httpx2.Response]) -> httpx2.Response:
    """A reply that came in time."""
    started = time.monotonic()
    response = await call
    assert time.monotonic() - started < LIMIT_SECONDS
    return response


async def end(server: RedisServer) -> None:
    """Redis ends, and the API hears it: a submit in that very moment would be an ambiguous one."""
    server.terminate()
    await asyncio.sleep(0.05)


async def until_queued(api: ApiUnderTest, within_seconds: float = 5.0) -> httpx2.Response:
    """Execute until the queue is used again."""
    async with asyncio.timeout(within_seconds):
        while True:
            response = await api.execute()
            if response.status_code == 202:
                return response
            await asyncio.sleep(0.1)


async def test_redis_down_runs_workflows_inside_the_request(
    api: ApiUnderTest, server: RedisServer
) -> None:
    assert (await api.execute()).json()["status"] == "queued"
    await end(server)
    replies = [await timed(api.execute()) for _ in range(3)]
    for response in replies:
        body = response.json()
        assert response.status_code == 200
        assert (body["status"], body["execution"], body["stored"]) == ("completed", "inline", False)
    task_id = replies[0].json()["task_id"]
    assert (await api.get("/readyz")).status_code == 200
    assert (await api.get("/readyz")).json()["redis"] == "unavailable"
    check(await api.get(f"/api/tasks/{task_id}"), "queue-unavailable")

    server.start()
    await until_queued(api)
    later = await api.get(f"/api/tasks/{task_id}")
    check(later, "task-not-found")
    assert "not stored" in later.json()["detail"]


async def test_a_redis_that_was_never_there_is_no_reason_to_fail(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path, "redis://127.0.0.1:1/0")) as api:
        assert (await timed(api.execute())).json()["status"] == "completed"
        assert (await api.get("/readyz")).status_code == 503  # for its first 10 s
        assert (await api.get("/healthz")).status_code == 200


async def test_a_hanging_redis_never_makes_a_task_run_twice(
    server: RedisServer, tmp_path: Path, queue: TaskQueue
) -> None:
    ran.clear()
    async with running(api_settings(tmp_path, server.url, inline_max=50), counted) as api:
        submit = "/api/tasks/counted"
        assert (await api.post(submit, json={"payload": 0})).status_code == 202
        server.pause()
        replies = await asyncio.gather(
            *(timed(api.post(submit, json={"payload": n})) for n in range(20))
        )
        later = [await timed(api.post(submit, json={"payload": n})) for n in range(3)]
        server.resume()
    unsure = [reply.json()["task_id"] for reply in replies if reply.status_code == 503]
    inside = [reply.json()["task_id"] for reply in [*replies, *later] if reply.status_code == 200]
    assert len(unsure) + len(inside) == 23
    assert unsure, "at least the first submit was sent"
    for reply in replies:
        if reply.status_code == 503:
            check(reply, "submit-unconfirmed")
            assert int(reply.headers["retry-after"]) >= 1
    assert sorted(ran) == sorted(inside)
    # What Redis carried out after its pause is queued, once; what ran inside is not there.
    found = [task for task in await queue.get_many(unsure) if task is not None]
    assert {task.status for task in found} <= {TaskStatus.QUEUED}
    assert not any(await queue.get_many(inside))


async def test_a_hanging_redis_leaves_every_address_answering(
    api: ApiUnderTest, server: RedisServer
) -> None:
    task_id = (await api.execute()).json()["task_id"]
    server.pause()
    paths = [
        f"/api/tasks/{task_id}",
        "/api/workflows/queue/stats",
        "/api/workflows/queue/history",
        "/api/workflows/queue/x/dead-letters",
        "/api/workers",
    ]
    replies = await asyncio.gather(*(timed(api.get(path)) for path in paths))
    assert {reply.status_code for reply in replies} == {503}
    moves = [f"/api/tasks/{task_id}/cancel", f"/api/tasks/{task_id}/retry", "/api/workers/w/drain"]
    for path in moves:
        check(await timed(api.post(path)), "queue-unavailable")
    assert (await timed(api.get("/api/workflows"))).status_code == 200
    assert (await timed(api.get("/readyz"))).status_code == 200
    server.resume()
    await until_queued(api)


async def test_unconfirmed_copies_of_a_healthy_redis_are_no_outage(
    server: RedisServer, tmp_path: Path, queue: TaskQueue
) -> None:
    settings = api_settings(
        tmp_path,
        server.url,
        queue={"redis_wait_replicas": 1, "redis_timeout_seconds": 0.4},
    )
    async with running(settings) as api:
        replies = [await timed(api.execute()) for _ in range(3)]
        for reply in replies:
            check(reply, "submit-unconfirmed")
        assert (await api.get("/readyz")).json()["redis"] == "available"
        assert (await api.get("/api/workflows/queue/stats")).status_code == 200
    tasks = await queue.get_many([reply.json()["task_id"] for reply in replies])
    assert [task.status for task in tasks if task] == [TaskStatus.QUEUED] * 3


async def test_a_newer_layout_in_redis_is_told_as_what_it_is(
    api: ApiUnderTest, server: RedisServer
) -> None:
    await api.execute()
    server.client.hset("{headrace}:meta", "version", 99)
    reply = await timed(api.execute())
    check(reply, "upgrade-needed")
    assert "99" in reply.json()["detail"]
    check(await api.get("/api/workflows/queue/stats"), "upgrade-needed")
    async with asyncio.timeout(5):
        while (await api.get("/readyz")).json()["redis"] != "unsuitable":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await api.get("/readyz")).status_code == 200


async def test_a_slow_redis_does_not_make_a_request_of_many_questions_slow(
    server: RedisServer, tmp_path: Path
) -> None:
    settings = api_settings(tmp_path, server.url, queue={"redis_timeout_seconds": 2.4})
    async with running(settings) as api:
        await api.execute()
        queue = api.api.queue
        assert queue is not None
        asked: list[str] = []
        history = queue.history

        async def slow_history(task_type: str) -> Any:
            asked.append(task_type)
            await asyncio.sleep(1.2)
            return await history(task_type)

        queue.history = slow_history  # type: ignore[method-assign]
        reply = await timed(api.get("/api/workflows/queue/history"))
        assert reply.status_code == 200
        assert len(asked) == 3


async def test_what_must_not_run_inside_is_a_503_that_says_when_to_try_again(
    api: ApiUnderTest, server: RedisServer
) -> None:
    await api.execute()
    await end(server)
    keyed = await timed(api.execute(headers={"Idempotency-Key": "k"}))
    dated = await timed(api.execute(json={"start_at": "2099-01-01T00:00:00Z"}))
    keyed_inside = await timed(
        api.execute(query="async_execute=false", headers={"Idempotency-Key": "k"})
    )
    batch = {"tasks": [{"payload": {"workflow_id": "my-workflow"}}]}
    batched = await timed(api.post("/api/tasks/workflow_execute/batch", json=batch))
    for response in (keyed, dated, keyed_inside, batched):
        check(response, "queue-unavailable")
        assert int(response.headers["retry-after"]) >= 1


async def test_payloads_are_checked_before_anything_runs_inside(
    server: RedisServer, tmp_path: Path
) -> None:
    ran.clear()
    async with running(api_settings(tmp_path, server.url), slow) as api:
        await end(server)
        check(await api.post("/api/tasks/slow", json={"payload": "soon"}), "invalid-payload")
        check(await api.execute(json={"max_retries": 101}), "invalid-request")
        check(await api.execute("no-such-workflow"), "workflow-not-found")


@pytest.mark.parametrize("enabled", [True, False])
async def test_inline_runs_are_bounded_in_number_and_time(
    server: RedisServer, tmp_path: Path, enabled: bool
) -> None:
    url = server.url if enabled else None
    settings = api_settings(tmp_path, url, inline_max=2, inline_timeout_seconds=0.4)
    async with running(settings, slow) as api:
        if enabled:
            await end(server)
            await timed(api.post("/api/tasks/slow", json={"payload": 0}))
        calls = [timed(api.post("/api/tasks/slow", json={"payload": 60})) for _ in range(5)]
        replies = await asyncio.gather(*calls)
        ended = [reply.json() for reply in replies if reply.status_code == 200]
        assert [body["status"] for body in ended] == ["failed", "failed"]
        assert "INLINE_TIMEOUT_SECONDS" in ended[0]["error"]
        refused = [reply for reply in replies if reply.status_code == 503]
        assert len(refused) == 3
        for reply in refused:
            check(reply, "inline-busy")
            assert int(reply.headers["retry-after"]) >= 1


async def test_the_queue_switched_off_runs_everything_inside(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as api:
        for query in ("async_execute=true", "async_execute=false"):
            body = (await api.execute(query=query)).json()
            assert list(body)[:4] == ["task_id", "status", "message", "workflow_id"]
            assert (body["status"], body["execution"]) == ("completed", "inline")
            check(await api.get(f"/api/workflows/tasks/{body['task_id']}"), "task-not-found")
        check(await api.execute(headers={"Idempotency-Key": "k"}), "queue-disabled")
        ready = await api.get("/readyz")
        assert (ready.status_code, ready.json()["redis"]) == (200, "disabled")


async def test_a_wait_inside_the_request_sleeps_and_is_bounded(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path, inline_timeout_seconds=0.3)) as api:
        body = (await api.execute("waiting", query="async_execute=false")).json()
        assert body["status"] == "failed"
        assert "INLINE_TIMEOUT_SECONDS" in body["error"]

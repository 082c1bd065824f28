"""One action for many tasks over HTTP, done by the API alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headrace.taskqueue import DONE_AT_ONCE, BulkAction, Failed, Fenced, TaskFilter, TaskQueue
from headrace_api.tend import BulkWork, Tend
from tests.integration.taskqueue.rig import until
from tests.unit.api.harness import ApiUnderTest, check

if TYPE_CHECKING:
    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"
TYPE = "resize_image"


async def submit(api: ApiUnderTest, count: int, **more: Any) -> list[str]:
    tasks = [{"payload": {"url": "a.jpg"}, **more} for _ in range(count)]
    response = await api.post(f"/api/tasks/{TYPE}/batch", json={"tasks": tasks})
    assert response.status_code == 202, response.text
    return [task["task_id"] for task in response.json()["tasks"]]


async def fail(worker: HandWorker, count: int, error: str = "no") -> None:
    for _ in range(count):
        claim = await worker.consumer.claim(1)
        await worker.consumer.settle([Failed(claim.tasks[0], error, None, 5)])


async def start(api: ApiUnderTest, action: str, filter: dict[str, Any]) -> str:
    response = await api.post("/api/bulk", json={"action": action, "filter": filter})
    assert response.status_code == 202, response.text
    bulk_id: str = response.json()["bulk_id"]
    return bulk_id


async def ended(api: ApiUnderTest, bulk_id: str) -> dict[str, Any]:
    """Its record once it is completed."""

    async def look() -> dict[str, Any]:
        body: dict[str, Any] = (await api.get(f"/api/bulk/{bulk_id}")).json()
        return body

    return await until(look, lambda body: body["status"] == "completed", 10)


async def statuses(queue: TaskQueue, task_ids: list[str]) -> list[str | None]:
    found = await queue.get_many(task_ids)
    return [None if task is None else str(task.status) for task in found]


async def test_dead_letters_are_retried_without_a_worker(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    task_ids = await submit(api, 60)
    await fail(worker, 60)
    await worker.consumer.deregister()
    wanted = {"action": "retry", "filter": {"type": TYPE}, "name": "again"}
    dry = (await api.post("/api/bulk?dry_run=true", json=wanted)).json()
    assert (dry["count"], dry["complete"]) == (60, True)
    assert len(dry["samples"]) == 3
    assert {task["status"] for task in dry["samples"]} == {"failed"}
    assert (await api.get("/api/bulk")).json() == {"bulk": []}
    response = await api.post("/api/bulk", json=wanted)
    assert response.status_code == 202
    body = await ended(api, response.json()["bulk_id"])
    assert (body["total"], body["done"], body["failed"]) == (60, 60, 0)
    assert (body["name"], body["filter"], body["reasons"]) == ("again", {"type": TYPE}, {})
    assert set(await statuses(queue, task_ids)) == {"queued"}
    [listed] = (await api.get("/api/bulk")).json()["bulk"]
    assert listed == {name: value for name, value in body.items() if name != "failures"}


@pytest.mark.parametrize(
    ("action", "filter", "expected"),
    [
        ("retry", {}, ["queued", "cancelled", "pending", "queued"]),
        ("retry", {"status": "cancelled"}, ["failed", "queued", "pending", "queued"]),
        ("cancel", {}, ["failed", "cancelled", "cancelled", "cancelled"]),
        ("cancel", {"status": "queued"}, ["failed", "cancelled", "pending", "cancelled"]),
        ("delete", {}, [None, None, "pending", "queued"]),
        ("delete", {"error": "no"}, [None, "cancelled", "pending", "queued"]),
        ("run-now", {}, ["failed", "cancelled", "queued", "queued"]),
        (
            "retry",
            {"ended_after": "2100-01-01T00:00:00"},
            ["failed", "cancelled", "pending", "queued"],
        ),
    ],
)
async def test_each_action_is_for_what_its_filter_finds(
    api: ApiUnderTest,
    worker: HandWorker,
    queue: TaskQueue,
    action: str,
    filter: dict[str, str],
    expected: list[str | None],
) -> None:
    [failed] = await submit(api, 1)
    await fail(worker, 1)
    [cancelled] = await submit(api, 1)
    await queue.cancel(cancelled)
    [pending] = await submit(api, 1, start_in=3600)
    [queued] = await submit(api, 1)
    bulk_id = await start(api, action, {"type": TYPE, **filter})
    body = await ended(api, bulk_id)
    assert body["failed"] == 0
    assert await statuses(queue, [failed, cancelled, pending, queued]) == expected


async def test_running_tasks_are_asked_to_stop_only_when_they_are_named(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    [task_id] = await submit(api, 1)
    await worker.claim()
    await ended(api, await start(api, "cancel", {"type": TYPE}))
    assert not (await queue.get(task_id)).cancel_requested
    await ended(api, await start(api, "cancel", {"type": TYPE, "status": "running"}))
    assert (await queue.get(task_id)).cancel_requested


async def test_what_comes_later_is_no_match_and_what_moved_is_a_failure(
    server: RedisServer, queue: TaskQueue, worker: HandWorker, api: ApiUnderTest
) -> None:
    """The steps by hand, without the API's loop."""
    lease = queue.fenced_lease("by hand")
    await lease.take()
    early = await submit(api, 3)
    await fail(worker, 3)
    bulk = await queue.bulks.start("b" * 36, BulkAction.RETRY, TaskFilter(type=TYPE))
    await asyncio.sleep(0.005)
    [late] = await submit(api, 1)
    await fail(worker, 1)
    while (bulk := await queue.bulks.get(bulk.id)).status == "collecting":
        await queue.bulks.collect(lease, bulk)
    assert bulk.total == 3
    await queue.retry(early[0])
    await queue.delete(early[1])
    while await queue.bulks.step(lease, bulk):
        pass
    bulk = await queue.bulks.get(bulk.id)
    assert (bulk.status, bulk.done, bulk.failed) == ("completed", 1, 2)
    assert bulk.reasons == {"not-allowed": 1, "task-not-found": 1}
    failures = {failure.task_id: failure.reason for failure in await queue.bulks.failures(bulk.id)}
    assert failures == {early[0]: "not-allowed", early[1]: "task-not-found"}
    assert await statuses(queue, [late]) == ["failed"]


async def test_what_is_stopped_goes_on_with_the_same_matches(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    count = 1200
    task_ids = [task_id for _ in range(2) for task_id in await submit(api, count // 2)]
    for task_id in task_ids:
        await queue.cancel(task_id)
    bulk_id = await start(api, "delete", {"type": TYPE})

    async def look() -> dict[str, Any]:
        body: dict[str, Any] = (await api.get(f"/api/bulk/{bulk_id}")).json()
        return body

    await until(look, lambda body: body["done"] > 0)
    stopped = (await api.post(f"/api/bulk/{bulk_id}/stop")).json()
    assert stopped["status"] == "stopped"
    assert 0 < stopped["done"] < stopped["total"] == count
    await asyncio.sleep(0.1)
    assert (await look())["done"] == stopped["done"]
    left = sum(task is not None for task in await queue.get_many(task_ids))
    assert left == count - stopped["done"]
    resumed = (await api.post(f"/api/bulk/{bulk_id}/resume")).json()
    assert resumed["status"] == "running"
    body = await ended(api, bulk_id)
    assert (body["done"], body["failed"]) == (count, 0)
    again = (await api.post(f"/api/bulk/{bulk_id}/stop")).json()
    assert again["status"] == "completed"


async def test_a_process_that_lost_its_lease_changes_nothing_and_another_goes_on(
    server: RedisServer, queue: TaskQueue, worker: HandWorker, api: ApiUnderTest
) -> None:
    task_ids = await submit(api, 40)
    await fail(worker, 40)
    first = queue.fenced_lease("by hand", 0.2)
    await first.take()
    bulk = await queue.bulks.start("b" * 36, BulkAction.RETRY, TaskFilter(type=TYPE))
    while (bulk := await queue.bulks.get(bulk.id)).status == "collecting":
        await queue.bulks.collect(first, bulk)
    assert await queue.bulks.step(first, bulk) == DONE_AT_ONCE
    await asyncio.sleep(0.3)
    other = TaskQueue(server.url)
    lease = other.fenced_lease("by hand", 0.5)
    running = asyncio.create_task(Tend(lease, [BulkWork(other.bulks)]).run())
    try:
        body = await ended(api, bulk.id)
        with pytest.raises(Fenced):
            await queue.bulks.step(first, bulk)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await other.close()
    assert (body["total"], body["done"], body["failed"]) == (40, 40, 0)
    assert set(await statuses(queue, task_ids)) == {"queued"}


async def test_the_same_key_starts_it_once(api: ApiUnderTest, worker: HandWorker) -> None:
    wanted = {"action": "delete", "filter": {"type": TYPE}}
    key = {"Idempotency-Key": "nightly"}
    first, second = [
        (await api.post("/api/bulk", json=wanted, headers=key)).json()["bulk_id"] for _ in range(2)
    ]
    assert first == second
    wanted["action"] = "retry"
    check(await api.post("/api/bulk", json=wanted, headers=key), "idempotency-conflict")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"action": "retry"}, "/filter"),
        ({"action": "purge", "filter": {}}, "/action"),
        ({"action": "delete", "filter": {"typ": TYPE}}, "/filter"),
        ({"action": "delete", "filter": {"status": "running"}}, "/filter/status"),
        ({"action": "run-now", "filter": {"worker": "w"}}, "/filter/status"),
        ({"action": "retry", "filter": {"type": "no such"}}, "/filter/type"),
        ({"action": "retry", "filter": {}, "name": "x" * 201}, "/name"),
    ],
)
async def test_what_is_wrong_with_it_is_said(
    api: ApiUnderTest, body: dict[str, Any], pointer: str
) -> None:
    for query in ("", "?dry_run=true"):
        response = await api.post(f"/api/bulk{query}", json=body)
        check(response, "invalid-request")
        assert pointer in {error["pointer"] for error in response.json()["errors"]}


async def test_what_is_not_there_is_a_404(api: ApiUnderTest) -> None:
    check(await api.get(f"/api/bulk/{UNKNOWN}"), "bulk-not-found")
    for move in ("stop", "resume"):
        check(await api.post(f"/api/bulk/{UNKNOWN}/{move}"), "bulk-not-found")

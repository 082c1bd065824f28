"""/api/tasks: the list over HTTP, the counts, and what is done with one task later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headrace.taskqueue import NewTask, TaskQueue, new_id

if TYPE_CHECKING:
    from tests.integration.api.conftest import HandWorker
    from tests.unit.api.harness import ApiUnderTest

TYPE = "resize_image"


async def submit(queue: TaskQueue, count: int = 1, **options: Any) -> list[str]:
    tasks = [
        NewTask(type=TYPE, payload=b'{"url": "a"}', id=new_id(), **options) for _ in range(count)
    ]
    return [task.id for task in await queue.submit_many(tasks)]


def ids(reply: Any) -> list[str]:
    return [item["task_id"] for item in reply.json()["items"]]


async def test_the_list_goes_on_page_by_page(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker
) -> None:
    waiting = await submit(queue, 5)
    done = await worker.complete()
    reply = await api.get("/api/tasks?limit=3")
    assert reply.status_code == 200
    body = reply.json()
    assert ids(reply) == waiting[1:4]
    assert (body["scanned"], body["complete"]) == (3, True)
    assert "result" not in body["items"][0]
    assert body["items"][0]["live_workers"] is not None
    reply = await api.get(f"/api/tasks?limit=3&cursor={body['next_cursor']}")
    assert ids(reply) == [waiting[4], done.id]
    assert reply.json()["next_cursor"] is None


async def test_filters_have_the_names_of_the_fields(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker
) -> None:
    [red] = await submit(queue, tags=("red",))
    failed = await worker.fail("no such city")
    assert failed.id == red
    await submit(queue)
    hour = (datetime.now(UTC) - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    for query in (
        "tag=red",
        "error=such",
        "status=failed",
        f"status=failed&type={TYPE}&q=url",
        f"ended_after={hour}",
        f"ended_after={hour.rstrip('Z')}",
    ):
        assert ids(await api.get(f"/api/tasks?{query}")) == [red], query
    assert ids(await api.get(f"/api/tasks?ended_before={hour}")) == []
    claimed = await worker.claim()
    assert ids(await api.get("/api/tasks?worker=hand-worker")) == [claimed.id]


@pytest.mark.parametrize(
    ("query", "parameter", "advice"),
    [
        ("status=done", "status", "queued"),
        ("limit=201", "limit", "200"),
        ("type=No+Name", "type", "up to 64"),
        ("tag=two+words", "tag", "1 to 64"),
        ("ended_after=yesterday", "ended_after", "a time, as in 2026-01-01T10:00:00Z"),
        ("status=queued&ended_after=2026-01-01", "status", "leave `ended_after`"),
        ("worker=w1&status=failed", "worker", "leave `status`"),
        ("cursor=abc", "cursor", "leave it out"),
        ("state=failed", "state", "`status` is meant"),
    ],
)
async def test_a_filter_that_cannot_be_is_a_422_that_says_what_to_do(
    api: ApiUnderTest, query: str, parameter: str, advice: str
) -> None:
    reply = await api.get(f"/api/tasks?{query}")
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["parameter"] == parameter
    assert advice in reply.json()["detail"]


async def test_the_counts_are_by_type_and_state(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker
) -> None:
    waiting = await submit(queue, 6)
    await submit(queue, 2, start_at=datetime.now(UTC) + timedelta(hours=1))
    await worker.complete()
    await worker.fail("no")
    await worker.claim()
    await queue.cancel(waiting[-1])
    reply = await api.get("/api/tasks/counts")
    assert reply.json()["counts"][TYPE] == {
        "queued": 2,
        "running": 1,
        "pending": 2,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
        "capped": False,
    }


async def test_a_pending_task_is_run_before_its_time(api: ApiUnderTest, queue: TaskQueue) -> None:
    [task_id] = await submit(queue, start_at=datetime.now(UTC) + timedelta(hours=1))
    reply = await api.post(f"/api/tasks/{task_id}/run-now")
    assert (reply.status_code, reply.json()) == (202, {"task_id": task_id, "status": "queued"})
    again = await api.post(f"/api/tasks/{task_id}/run-now")
    assert again.status_code == 409
    assert "only pending tasks" in again.json()["detail"]


async def test_a_deleted_task_leaves_nothing(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker
) -> None:
    [task_id] = await submit(queue)
    reply = await api.delete(f"/api/tasks/{task_id}")
    assert reply.status_code == 409
    assert "cancel it first" in reply.json()["detail"]
    await worker.fail("no")
    reply = await api.delete(f"/api/tasks/{task_id}")
    assert (reply.status_code, reply.content) == (204, b"")
    assert (await api.get(f"/api/tasks/{task_id}")).status_code == 404
    assert (await api.delete(f"/api/tasks/{task_id}")).status_code == 404
    assert ids(await api.get("/api/tasks")) == []


async def test_a_task_is_changed_before_it_begins(api: ApiUnderTest, queue: TaskQueue) -> None:
    [task_id] = await submit(queue)
    reply = await api.patch(f"/api/tasks/{task_id}", json={"start_in": 3600, "tags": ["red"]})
    assert (reply.status_code, reply.json()) == (200, {"task_id": task_id, "status": "pending"})
    record = (await api.get(f"/api/tasks/{task_id}")).json()
    assert (record["status"], record["tags"]) == ("pending", ["red"])
    assert record["due_at"] > record["created_at"]
    for body, pointer in (({"tags": ["a b"]}, "/tags"), ({"max_retries": -1}, "/max_retries")):
        reply = await api.patch(f"/api/tasks/{task_id}", json=body)
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)
    await queue.cancel(task_id)
    reply = await api.patch(f"/api/tasks/{task_id}", json={"max_retries": 1})
    assert reply.status_code == 409
    assert "only pending and queued" in reply.json()["detail"]


async def test_why_says_what_to_do(api: ApiUnderTest, queue: TaskQueue) -> None:
    [task_id] = await submit(queue)
    reply = await api.get(f"/api/tasks/{task_id}/why")
    body = reply.json()
    assert (body["code"], body["position"], body["live_workers"]) == ("no-worker", 1, 0)
    assert "Start one" in body["text"]


@pytest.mark.parametrize("name", ["bulk", "counts", "wait", "live", "events"])
async def test_no_task_type_has_a_name_that_an_address_needs(queue: TaskQueue, name: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        await queue.submit(NewTask(type=name, payload=b"1", id=new_id()))

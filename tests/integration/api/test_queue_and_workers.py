"""The stats reply and the workers' addresses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.contract.stats import QueueReply, StatsReply
from headrace.taskqueue import NewTask, new_id
from tests.unit.api.harness import ApiUnderTest, api_settings, check, running

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.taskqueue import TaskQueue
    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer

STATS = "/api/workflows/queue/stats"
BUILTIN = ["workflow_execute", "chat_process", "knowledge_search"]


async def test_all_three_queues_stand_in_the_stats_from_the_first_day(api: ApiUnderTest) -> None:
    response = await api.get(STATS)
    body = response.json()
    assert response.status_code == 200
    assert list(body)[:2] == ["enabled", "queues"]
    assert body["enabled"] is True
    assert body["available"] is True
    assert list(body["queues"]) == BUILTIN
    for queue in body["queues"].values():
        assert list(queue) == list(QueueReply.model_fields)
        assert next(iter(queue)) == "queue_length"
    assert body["epoch"]
    StatsReply.model_validate(body)


async def test_what_waits_and_what_runs_is_counted(api: ApiUnderTest, worker: HandWorker) -> None:
    for _ in range(3):
        await api.execute()
    await worker.claim()
    body = (await api.get(STATS)).json()
    counted = body["queues"]["workflow_execute"]
    assert (counted["queue_length"], counted["running"]) == (2, 1)
    assert counted["arrivals_total"] == 3
    assert counted["oldest_age_seconds"] >= 0
    [found] = body["workers"]
    assert (found["id"], found["pod"], found["concurrency"]) == (worker.id, "pod-1", 2)
    assert found["busy_slots"] == 1


async def test_a_worker_that_cannot_be_read_is_left_out(
    api: ApiUnderTest, worker: HandWorker, server: RedisServer
) -> None:
    client = server.client
    client.hset("{headrace}:worker:odd", mapping={"info": '{"id": "odd"}', "seen": int(9e12)})
    client.zadd("{headrace}:workers", {"odd": int(9e12)})
    response = await api.get(STATS)
    assert response.status_code == 200
    assert [listed["id"] for listed in response.json()["workers"]] == [worker.id]


async def test_further_types_follow_the_built_in_ones(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    await api.post("/api/tasks/resize_image", json={"payload": {"url": "a"}})
    body = (await api.get(STATS)).json()
    assert list(body["queues"]) == [*BUILTIN, "resize_image"]


async def test_switched_off_the_stats_say_so(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as api:
        response = await api.get(STATS)
        assert (response.status_code, response.json()) == (200, {"enabled": False, "queues": {}})
        assert (await api.get("/api/workers")).json() == {"workers": []}
        assert (await api.get("/api/workflows/queue/history")).json() == {"queues": {}}
        check(await api.post("/api/workers/w/drain"), "worker-not-found")


async def test_with_redis_away_the_stats_are_a_503_and_never_zeros(
    api: ApiUnderTest, server: RedisServer
) -> None:
    await api.get(STATS)
    server.terminate()
    for _ in range(3):
        response = await api.get(STATS)
        assert response.status_code == 503
        assert response.json() == {"enabled": True, "available": False}
        assert int(response.headers["retry-after"]) >= 1


async def test_history_has_the_last_hour_by_minute(api: ApiUnderTest) -> None:
    await api.execute()
    body = (await api.get("/api/workflows/queue/history")).json()["queues"]
    assert list(body) == BUILTIN
    assert len(body["workflow_execute"]) == 60
    assert sum(minute["arrivals"] for minute in body["workflow_execute"]) == 1
    history = (await api.get("/api/workflows/queue/history?type=chat_process")).json()["queues"]
    assert list(history) == ["chat_process"]


async def test_workers_are_listed_drained_and_undrained(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    await api.execute()
    [found] = (await api.get("/api/workers")).json()["workers"]
    assert (found["id"], found["draining"]) == (worker.id, False)
    response = await api.post(f"/api/workers/{worker.id}/drain")
    assert response.json() == {"id": worker.id, "draining": True}
    assert not (await worker.consumer.claim(1)).tasks
    assert (await api.get("/api/workers")).json()["workers"][0]["draining"] is True
    await api.post(f"/api/workers/{worker.id}/undrain")
    assert (await worker.consumer.claim(1)).tasks


async def test_an_unknown_worker_is_a_404(api: ApiUnderTest) -> None:
    for move in ("drain", "undrain"):
        check(await api.post(f"/api/workers/no-such-worker/{move}"), "worker-not-found")


async def test_a_queue_that_never_was_is_a_404_and_no_empty_list(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    for address in ("no_such_type/dead-letters", "history?type=no_such_type"):
        response = await api.get(f"/api/workflows/queue/{address}")
        check(response, "queue-not-found")
    for name in ("resize_image", *BUILTIN):
        assert (await api.get(f"/api/workflows/queue/{name}/dead-letters")).json()["items"] == []


async def test_a_queue_that_only_its_tasks_are_known_of_is_found(
    api: ApiUnderTest, queue: TaskQueue
) -> None:
    await queue.submit(NewTask(type="unpublished", payload=b"1", id=new_id()))
    async with asyncio.timeout(5):
        address = "/api/workflows/queue/unpublished/dead-letters"
        while (await api.get(address)).status_code != 200:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.05)

"""Tasks of every type over HTTP: submit, look up, cancel, retry, batches, dead letters."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headrace.handlers import Context, handler
from headrace.taskqueue import Failed
from headrace_api.http import middleware
from tests.integration.api.conftest import RESIZE
from tests.unit.api.harness import ECHO, WAITING, ApiUnderTest, api_settings, check, running
from tests.unit.api.tasks.test_replies import GUIDE

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.taskqueue import TaskQueue
    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"


@handler("double", max_retries=1)
async def double(ctx: Context, payload: int) -> int:
    return 2 * payload


async def submit(api: ApiUnderTest, payload: Any = None, **more: Any) -> str:
    payload = {"url": "a.jpg"} if payload is None else payload
    response = await api.post("/api/tasks/resize_image", json={"payload": payload, **more})
    assert response.status_code == 202, response.text
    task_id: str = response.json()["task_id"]
    return task_id


@pytest.mark.parametrize("address", ["/api/tasks", "/api/workflows/tasks"])
async def test_a_record_has_the_guides_fields_first_at_both_addresses(
    api: ApiUnderTest, worker: HandWorker, address: str
) -> None:
    task_id = await submit(api)
    await worker.complete(b'{"width": 12345678901234567}')
    body = (await api.get(f"{address}/{task_id.upper()}")).json()
    assert list(body)[: len(GUIDE)] == GUIDE
    assert (body["status"], body["type"]) == ("completed", "resize_image")
    assert body["result"] == {"width": 12345678901234567}
    assert body["worker"] == worker.id
    for name in ("created_at", "started_at", "completed_at"):
        assert body[name].endswith("Z")
        assert datetime.fromisoformat(body[name]).utcoffset() == timedelta(0)


@pytest.mark.parametrize("task_id", [UNKNOWN, "x", "%2e%2e", "task:1", "é"])
@pytest.mark.parametrize("move", ["", "/cancel", "/retry"])
async def test_an_id_that_stands_for_nothing_is_a_404(
    api: ApiUnderTest, task_id: str, move: str
) -> None:
    call = api.post if move else api.get
    check(await call(f"/api/tasks/{task_id}{move}"), "task-not-found")


async def test_a_type_that_only_a_worker_knows_is_checked_by_its_schema(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    task_id = await submit(api)
    task = await queue.get(task_id)
    assert (task.max_retries, task.payload) == (7, b'{"url":"a.jpg"}')

    wrong = await api.post("/api/tasks/resize_image", json={"payload": {"width": 0}})
    check(wrong, "invalid-payload")
    assert {error["pointer"] for error in wrong.json()["errors"]} == {"/payload", "/payload/width"}
    assert (await queue.stats()).queues["resize_image"].queue_length == 1


async def test_a_type_of_the_apis_own_is_known_without_any_worker(
    server: RedisServer, tmp_path: Path, queue: TaskQueue
) -> None:
    async with running(api_settings(tmp_path, server.url), double) as api:
        response = await api.post("/api/tasks/double", json={"payload": 4})
        assert response.status_code == 202
        assert (await queue.get(response.json()["task_id"])).max_retries == 1
        wrong = await api.post("/api/tasks/double", json={"payload": "four"})
        check(wrong, "invalid-payload")
        assert wrong.json()["errors"][0]["pointer"] == "/payload"


async def test_a_type_that_nobody_knows_is_a_501(api: ApiUnderTest) -> None:
    response = await api.post("/api/tasks/no_such_type", json={"payload": None})
    check(response, "task-type-unknown")
    check(await api.post("/api/tasks/chat_process", json={"payload": {}}), "task-type-unknown")


async def test_a_type_stays_known_when_its_worker_is_gone(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    await worker.consumer.deregister()
    await submit(api)


async def test_a_workflow_submitted_as_a_task_is_pinned_as_well(
    api: ApiUnderTest, queue: TaskQueue
) -> None:
    wanted = {"payload": {"workflow_id": "my-workflow", "variables": {"a": 1}}}
    body = (await api.post("/api/tasks/workflow_execute", json=wanted)).json()
    assert b'"definition":"' in (await queue.get(body["task_id"])).payload
    missing = {"payload": {"workflow_id": "no-such-workflow"}}
    check(await api.post("/api/tasks/workflow_execute", json=missing), "workflow-not-found")
    check(await api.post("/api/tasks/workflow_execute", json={"payload": 5}), "invalid-payload")


async def test_a_definition_that_the_folder_does_not_hold_for_the_workflow_is_refused(
    api: ApiUnderTest, queue: TaskQueue
) -> None:
    """Whatever texts Redis keeps: a withdrawn one, or that of another workflow, is not run."""
    withdrawn = ECHO.replace("1.0.0", "0.9.0").encode()
    await queue.put_definition(withdrawn)
    hashes = [hashlib.sha256(text).hexdigest() for text in (withdrawn, WAITING.encode(), b"none")]
    for pin in hashes:
        payload = {"workflow_id": "my-workflow", "definition": pin}
        response = await api.post("/api/tasks/workflow_execute", json={"payload": payload})
        check(response, "invalid-payload")
        assert response.json()["errors"][0]["pointer"] == "/payload/definition"
        batch = {"tasks": [{"payload": payload}]}
        response = await api.post("/api/tasks/workflow_execute/batch", json=batch)
        check(response, "invalid-payload")
        assert response.json()["errors"][0]["pointer"] == "/tasks/0/payload/definition"
    assert "workflow_execute" not in (await queue.stats()).queues

    held = hashlib.sha256(ECHO.encode()).hexdigest()
    payload = {"workflow_id": "my_workflow", "definition": held}
    response = await api.post("/api/tasks/workflow_execute", json={"payload": payload})
    task = await queue.get(response.json()["task_id"])
    assert msgspec.json.decode(task.payload)["definition"] == held
    assert await queue.get_definition(held) == ECHO.encode()


async def test_a_queued_task_is_cancelled(api: ApiUnderTest, worker: HandWorker) -> None:
    task_id = await submit(api)
    response = await api.post(f"/api/workflows/tasks/{task_id}/cancel")
    assert response.status_code == 200
    assert response.json() == {
        "task_id": task_id,
        "status": "cancelled",
        "message": "任务已取消",
    }
    assert not (await worker.consumer.claim(1)).tasks
    check(await api.post(f"/api/tasks/{task_id}/cancel"), "not-allowed")


async def test_a_running_task_is_asked_to_stop_only_when_told_so(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    task_id = await submit(api)
    await worker.claim()
    refused = await api.post(f"/api/tasks/{task_id}/cancel")
    check(refused, "task-running")
    assert "?running=true" in refused.json()["detail"]
    asked = await api.post(f"/api/tasks/{task_id}/cancel?running=true")
    assert (asked.status_code, asked.json()["status"]) == (202, "running")
    assert (await api.get(f"/api/tasks/{task_id}")).json()["cancel_requested"] is True


async def test_a_dead_letter_is_listed_and_queued_again(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    ids = []
    for number in range(3):
        ids.append(await submit(api))
        await worker.fail(f"ValueError: {number}")
        await asyncio.sleep(0.005)
    address = "/api/workflows/queue/resize_image/dead-letters"
    first = (await api.get(f"{address}?limit=2")).json()
    assert [item["task_id"] for item in first["items"]] == ids[:0:-1]
    assert first["items"][0]["error"] == "ValueError: 2"
    second = (await api.get(f"{address}?limit=2&offset={first['next_offset']}")).json()
    assert [item["task_id"] for item in second["items"]] == ids[:1]
    assert second["next_offset"] is None

    response = await api.post(f"/api/tasks/{ids[0]}/retry")
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert (await worker.complete()).id == ids[0]
    check(await api.post(f"/api/tasks/{ids[0]}/retry"), "not-allowed")
    left = (await api.get(address)).json()
    assert [item["task_id"] for item in left["items"]] == ids[:0:-1]


async def test_a_page_of_large_dead_letters_is_small(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    ids = [await submit(api, {"url": "x" * 900_000}, max_retries=0) for _ in range(5)]
    for _ in ids:
        await worker.fail("ValueError: no")
    [listed, *_] = await queue.dead_letters("resize_image")
    assert (listed.payload, listed.result) == (b"null", None)
    page = await api.get("/api/workflows/queue/resize_image/dead-letters")
    assert {item["task_id"] for item in page.json()["items"]} == set(ids)
    assert len((await queue.get(ids[0])).payload) > 900_000


async def test_a_payload_that_no_worker_could_read_is_refused(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    payload = {"url": "a", "deep": json.loads("[" * 300 + "]" * 300)}
    single = await api.post("/api/tasks/resize_image", json={"payload": payload})
    tasks = [{"payload": {"url": "a"}}, {"payload": payload}]
    batch = await api.post("/api/tasks/resize_image/batch", json={"tasks": tasks})
    for response, pointer in ((single, "/payload"), (batch, "/tasks/1/payload")):
        check(response, "invalid-request")
        assert response.json()["errors"][0]["pointer"] == pointer


async def test_a_start_time_at_the_end_of_time_is_refused(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    wanted = {"payload": {"url": "a"}, "start_at": "9999-12-31T23:59:59-05:00"}
    check(await api.post("/api/tasks/resize_image", json=wanted), "invalid-request")
    response = await api.post("/api/tasks/resize_image/batch", json={"tasks": [wanted]})
    check(response, "invalid-request")
    assert response.json()["errors"][0]["pointer"] == "/tasks/0/start_at"


async def test_a_published_type_that_cannot_be_read_takes_no_other_away(
    api: ApiUnderTest, worker: HandWorker, server: RedisServer
) -> None:
    server.client.hset("{headrace}:types", "future", '{"name": "future", "schema": {}}')
    await submit(api)
    check(await api.post("/api/tasks/future", json={"payload": None}), "task-type-unknown")


async def test_the_keys_of_a_batch_are_no_keys_of_single_tasks(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    address = "/api/tasks/resize_image"
    batch = {"tasks": [{"payload": {"url": "a"}}]}
    await api.post(f"{address}/batch", json=batch, headers={"Idempotency-Key": "a"})
    single = await api.post(
        address, json={"payload": {"url": "b"}}, headers={"Idempotency-Key": "a:0"}
    )
    assert single.status_code == 202


async def test_a_batch_of_workflows_stays_the_same_when_their_definition_has_changed(
    api: ApiUnderTest, tmp_path: Path
) -> None:
    address, key = "/api/tasks/workflow_execute/batch", {"Idempotency-Key": "import-2"}
    payload = {"workflow_id": "my-workflow", "variables": {"a": 1}}
    wanted = {"tasks": [{"payload": payload}, {"payload": payload}]}
    first = await api.post(address, json=wanted, headers=key)
    (tmp_path / "workflows" / "my-workflow.yaml").write_text(ECHO + "# changed\n")
    async with running(api.api.settings) as deployed:
        again = await deployed.post(address, json=wanted, headers=key)
        assert again.json() == first.json()
        other = {"tasks": [wanted["tasks"][0], {"payload": {**payload, "variables": {}}}]}
        check(await deployed.post(address, json=other, headers=key), "idempotency-conflict")


async def test_a_batch_is_queued_in_order(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    wanted = {"tasks": [{"payload": {"url": str(n)}, "max_retries": n} for n in range(50)]}
    response = await api.post("/api/tasks/resize_image/batch", json=wanted)
    assert response.status_code == 202
    ids = [accepted["task_id"] for accepted in response.json()["tasks"]]
    tasks = await queue.get_many(ids)
    assert [task.max_retries for task in tasks if task] == list(range(50))
    assert (await worker.claim()).id == ids[0]


async def test_a_batch_with_one_mistake_queues_nothing(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    wanted = {"tasks": [{"payload": {"url": "a"}}, {"payload": {"url": 5}}]}
    response = await api.post("/api/tasks/resize_image/batch", json=wanted)
    check(response, "invalid-payload")
    assert response.json()["errors"][0]["pointer"] == "/tasks/1/payload/url"
    too_many = {"tasks": [{"payload": {"url": "a"}}] * 1001}
    check(await api.post("/api/tasks/resize_image/batch", json=too_many), "invalid-request")
    assert "resize_image" not in (await queue.stats()).queues or (
        (await queue.stats()).queues["resize_image"].queue_length == 0
    )


async def test_a_batch_sent_again_with_its_key_is_the_same_batch(
    api: ApiUnderTest, worker: HandWorker, queue: TaskQueue
) -> None:
    wanted = {"tasks": [{"payload": {"url": str(n)}} for n in range(3)]}
    key = {"Idempotency-Key": "import-1"}
    address = "/api/tasks/resize_image/batch"
    first, second = [await api.post(address, json=wanted, headers=key) for _ in range(2)]
    assert first.json() == second.json()
    assert (await queue.stats()).queues["resize_image"].queue_length == 3
    other = {"tasks": [{"payload": {"url": "other"}}]}
    check(await api.post(address, json=other, headers=key), "idempotency-conflict")


async def until_served(api: ApiUnderTest, queue: str, live_workers: int | None) -> None:
    """Until the API's reading shows so many live workers; None: that Redis is away."""
    async with asyncio.timeout(5):
        while api.api.live_workers.count(queue) != live_workers:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


async def test_replies_and_records_say_how_many_live_workers_serve_the_queue(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    await until_served(api, "resize_image", 1)
    single = (await api.post("/api/tasks/resize_image", json={"payload": {"url": "a"}})).json()
    assert list(single) == ["task_id", "type", "status", "live_workers"]
    assert single["live_workers"] == 1
    batch = {"tasks": [{"payload": {"url": "a"}}]}
    replies = (await api.post("/api/tasks/resize_image/batch", json=batch)).json()["tasks"]
    assert [reply["live_workers"] for reply in replies] == [1]
    assert (await api.execute()).json()["live_workers"] == 1

    await worker.consumer.deregister()
    await until_served(api, "resize_image", 0)
    assert (await api.get(f"/api/tasks/{single['task_id']}")).json()["live_workers"] == 0
    assert (await api.execute()).json()["live_workers"] == 0


@pytest.mark.parametrize("address", ["/api/tasks", "/api/workflows/tasks"])
async def test_who_polls_for_a_task_does_not_fill_the_log(
    api: ApiUnderTest, worker: HandWorker, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await submit(api)
    paths: list[str] = []
    monkeypatch.setattr(middleware.log, "info", lambda _, **fields: paths.append(fields["path"]))
    assert (await api.get(f"{address}/{task_id}")).status_code == 200
    assert (await api.get(f"{address}/{UNKNOWN}")).status_code == 404
    assert paths == [f"{address}/{UNKNOWN}"]


async def test_task_types_are_listed_with_schema_defaults_and_live_workers(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    found = await types_of(api)
    assert list(found) == ["resize_image", "workflow_execute"]
    resize = found["resize_image"]
    assert resize["payload_schema"]["required"] == ["url"]
    assert (resize["max_retries"], resize["timeout_seconds"], resize["version"]) == (7, 60.0, "2.0")
    assert [entry["runs_inline"] for entry in found.values()] == [False, True]
    await until_served(api, "resize_image", 1)
    assert {entry["live_workers"] for entry in (await types_of(api)).values()} == {1}

    await worker.consumer.deregister()
    await until_served(api, "resize_image", 0)
    assert {entry["live_workers"] for entry in (await types_of(api)).values()} == {0}


async def types_of(api: ApiUnderTest) -> dict[str, dict[str, Any]]:
    response = await api.get("/api/task-types")
    assert response.status_code == 200
    return {entry["name"]: entry for entry in response.json()["task_types"]}


async def test_a_type_is_listed_from_its_first_worker_on(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker
) -> None:
    assert "later" not in await types_of(api)
    info = msgspec.structs.replace(worker.consumer.info, id="second", queues=["later"])
    second = queue.consumer(info, [msgspec.structs.replace(RESIZE, name="later")])
    await second.register()
    assert "later" in await types_of(api)
    await second.close()


async def test_without_redis_the_types_are_listed_as_they_are_known(
    api: ApiUnderTest, worker: HandWorker, server: RedisServer
) -> None:
    assert (await types_of(api))["resize_image"]["max_retries"] == 7
    server.terminate()
    assert list(await types_of(api)) == ["resize_image", "workflow_execute"]
    await until_served(api, "resize_image", None)
    assert {entry["live_workers"] for entry in (await types_of(api)).values()} == {None}


async def test_what_a_reply_says_of_a_wrong_payload_is_bounded(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    """Also where the payload is large, or has a mistake in each of a hundred thousand places."""
    few = {"payload": {"url": 5, "width": 0}}
    body = (await api.post("/api/tasks/resize_image", json=few)).json()
    assert {error["pointer"] for error in body["errors"]} == {"/payload/url", "/payload/width"}
    for payload in ({"url": ["x" * 1_000_000]}, [1] * 100_000):
        response = await api.post("/api/tasks/resize_image", json={"payload": payload})
        check(response, "invalid-payload")
        assert len(response.content) < 2_000


async def test_the_attempts_of_a_task_are_shown_where_they_are_asked_for(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    task_id = await submit(api)
    task = await worker.claim()
    await worker.consumer.settle([Failed(task, "ValueError: no", None, 5, "ValueError", "at home")])
    for address in ("/api/tasks", "/api/workflows/tasks"):
        assert "attempts" not in (await api.get(f"{address}/{task_id}")).json()
        record = (await api.get(f"{address}/{task_id}?include=attempts")).json()
        assert list(record)[-1] == "attempts"
        [attempt] = record["attempts"]
        assert attempt["started_at"] == record["started_at"]
        assert attempt["ended_at"] == record["completed_at"]
        assert {**attempt, "started_at": None, "ended_at": None} == {
            "number": 1,
            "outcome": "failed",
            "worker": worker.id,
            "worker_version": "0.1.0",
            "started_at": None,
            "ended_at": None,
            "error": "ValueError: no",
            "error_type": "ValueError",
            "traceback": "at home",
        }
    check(await api.get(f"/api/tasks/{task_id}?include=all"), "invalid-request")


async def test_a_task_that_simply_succeeded_has_no_attempts_to_show(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    task_id = await submit(api)
    await worker.complete()
    record = (await api.get(f"/api/tasks/{task_id}?include=attempts")).json()
    assert record["attempts"] == []

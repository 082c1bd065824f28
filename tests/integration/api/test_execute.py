"""Executing a workflow over HTTP: the guide's reply, the pinned definition, runs inside."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from headrace.taskqueue import LayoutTooNew, OutOfMemory, QueueError, TaskQueue
from tests.unit.api.harness import ECHO, ApiUnderTest, api_settings, check, running

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.taskqueue import Task
    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer

FOUR = ["task_id", "status", "message", "workflow_id"]


async def test_the_reply_is_the_guides(api: ApiUnderTest) -> None:
    response = await api.execute()
    body = response.json()
    assert response.status_code == 202
    assert list(body) == [*FOUR, "live_workers"]
    assert str(uuid.UUID(body["task_id"])) == body["task_id"]
    assert body["status"] == "queued"
    assert body["message"] == "工作流已加入执行队列"
    assert body["workflow_id"] == "my-workflow"


async def test_the_guides_own_spelling_of_a_workflow_is_found(api: ApiUnderTest) -> None:
    body = (await api.execute("my_workflow", query="async_execute=false")).json()
    assert body["workflow_id"] == "my_workflow"
    assert body["result"]["workflow_id"] == "my_workflow"


async def test_english_when_the_client_prefers_it(api: ApiUnderTest) -> None:
    response = await api.execute(headers={"Accept-Language": "en-GB,en;q=0.9,zh;q=0.2"})
    assert response.json()["message"] == "The workflow was added to its queue"
    assert response.headers["content-language"] == "en"


async def test_no_body_and_no_parameter_execute_through_the_queue(api: ApiUnderTest) -> None:
    response = await api.post("/api/workflows/my-workflow/execute")
    assert response.json()["status"] == "queued"


async def test_the_task_carries_its_definition_and_redis_its_text(
    api: ApiUnderTest, queue: TaskQueue
) -> None:
    ids = [(await api.execute()).json()["task_id"] for _ in range(2)]
    for task_id in ids:
        payload = msgspec.json.decode((await queue.get(task_id)).payload)
        assert payload["variables"] == {"param1": "value1"}
        assert await queue.get_definition(payload["definition"]) == ECHO.encode()


async def test_the_text_is_there_again_after_redis_lost_its_data(
    api: ApiUnderTest, queue: TaskQueue, server: RedisServer
) -> None:
    await api.execute()
    server.flush()
    task_id = (await api.execute()).json()["task_id"]
    payload = msgspec.json.decode((await queue.get(task_id)).payload)
    assert await queue.get_definition(payload["definition"]) == ECHO.encode()


@pytest.mark.parametrize("error", [OutOfMemory("no memory left"), LayoutTooNew("9", 1)])
@pytest.mark.parametrize("batch", [False, True])
async def test_an_accepted_submit_gets_its_id_although_its_text_cannot_be_kept(
    api: ApiUnderTest,
    queue: TaskQueue,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    error: QueueError,
    batch: bool,
) -> None:
    await api.execute()
    server.flush()

    async def refuse(_: TaskQueue, text: bytes) -> str:
        raise error

    monkeypatch.setattr(TaskQueue, "put_definition", refuse)
    if batch:
        body = {"tasks": [{"payload": {"workflow_id": "my-workflow"}}]}
        response = await api.post("/api/tasks/workflow_execute/batch", json=body)
        [accepted] = response.json()["tasks"]
    else:
        response = await api.execute()
        accepted = response.json()
    assert response.status_code == 202
    assert (await queue.get(accepted["task_id"])).status == "queued"


@pytest.mark.parametrize("error", [OutOfMemory("no memory left"), LayoutTooNew("9", 1)])
async def test_a_run_that_is_done_is_answered_although_its_record_cannot_be_kept(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch, error: QueueError
) -> None:
    async def refuse(_: TaskQueue, task: Task) -> bool:
        raise error

    monkeypatch.setattr(TaskQueue, "store_final", refuse)
    response = await api.execute(query="async_execute=false")
    assert response.status_code == 200
    assert response.json()["status"] == "completed"
    assert response.json()["stored"] is False


async def test_an_unknown_workflow_is_a_404(api: ApiUnderTest) -> None:
    check(await api.execute("no-such-workflow"), "workflow-not-found")
    check(await api.get("/api/workflows/no-such-workflow"), "workflow-not-found")


async def test_a_broken_definition_is_named_with_file_line_and_task(api: ApiUnderTest) -> None:
    response = await api.execute("broken")
    check(response, "workflow-broken")
    body = response.json()
    assert (body["file"], body["task"]) == ("broken.yaml", "shell")
    assert isinstance(body["line"], int)
    assert body["workflow_id"] == "broken"


async def test_max_retries_and_start_at_reach_the_task(api: ApiUnderTest, queue: TaskQueue) -> None:
    start = datetime.now(UTC) + timedelta(hours=1)
    wanted = {"max_retries": 0, "start_at": start.isoformat()}
    body = (await api.execute(json=wanted)).json()
    assert body["status"] == "pending"
    task = await queue.get(body["task_id"])
    assert task.max_retries == 0
    assert task.due_at is not None
    assert abs(task.due_at - start) < timedelta(milliseconds=2)


async def test_by_default_a_task_has_three_retries(api: ApiUnderTest, queue: TaskQueue) -> None:
    assert (await queue.get((await api.execute()).json()["task_id"])).max_retries == 3


async def test_the_same_key_makes_one_task(api: ApiUnderTest, queue: TaskQueue) -> None:
    key = {"Idempotency-Key": "order-17"}
    bodies = [(await api.execute(headers=key)).json() for _ in range(3)]
    assert len({body["task_id"] for body in bodies}) == 1
    assert (await queue.stats()).queues["workflow_execute"].queue_length == 1
    check(await api.execute(headers=key, json={"variables": {"other": 1}}), "idempotency-conflict")


async def test_the_same_key_stays_good_when_the_definition_has_changed(
    api: ApiUnderTest, tmp_path: Path
) -> None:
    key = {"Idempotency-Key": "order-17"}
    first = (await api.execute(headers=key)).json()
    (tmp_path / "workflows" / "my-workflow.yaml").write_text(ECHO + "# changed\n")
    # The next deployment reads the folder again.
    async with running(api.api.settings) as deployed:
        assert (await deployed.get("/api/workflows/my-workflow")).json()["definition"] != ECHO
        again = await deployed.execute(headers=key)
        other = await deployed.execute(headers=key, json={"variables": {"other": 1}})
    assert again.json()["task_id"] == first["task_id"]
    check(other, "idempotency-conflict")


async def test_a_run_inside_the_request_is_stored_final(
    api: ApiUnderTest, queue: TaskQueue
) -> None:
    response = await api.execute(query="async_execute=false")
    body = response.json()
    assert response.status_code == 200
    assert list(body)[:4] == FOUR
    assert body["status"] == "completed"
    assert body["execution"] == "inline"
    assert body["stored"] is True
    assert body["result"] == {
        "workflow_id": "my-workflow",
        "status": "completed",
        "variables": {"param1": "value1"},
    }
    record = (await api.get(f"/api/workflows/tasks/{body['task_id']}")).json()
    assert record.pop("workflow")["workflow_id"] == "my-workflow"
    assert {name: body[name] for name in record if name not in TIMES} == {
        name: value for name, value in record.items() if name not in TIMES
    }
    stats = (await queue.stats()).queues
    assert not stats or stats["workflow_execute"].arrivals_total == 0


TIMES = {"created_at", "started_at", "completed_at"}
"""Redis keeps milliseconds; the inline reply tells microseconds."""


async def test_a_run_that_fails_inside_the_request_is_a_reply_and_no_error(
    api: ApiUnderTest,
) -> None:
    response = await api.execute("failing", query="async_execute=false")
    body = response.json()
    assert response.status_code == 200
    assert body["status"] == "failed"
    assert body["message"] == "工作流执行失败"
    assert body["error"]
    assert (await api.get(f"/api/tasks/{body['task_id']}")).json()["status"] == "failed"


async def test_a_key_is_kept_for_runs_inside_the_request_too(api: ApiUnderTest) -> None:
    key = {"Idempotency-Key": "order-18"}
    replies = await asyncio.gather(
        *(api.execute(query="async_execute=false", headers=key) for _ in range(5))
    )
    assert len({reply.json()["task_id"] for reply in replies}) == 1
    assert len({reply.json()["completed_at"][:22] for reply in replies}) == 1
    conflict = await api.execute(
        query="async_execute=false", headers=key, json={"variables": {"other": 1}}
    )
    check(conflict, "idempotency-conflict")


async def test_a_key_stands_for_one_request_wherever_that_ran(
    api: ApiUnderTest, queue: TaskQueue
) -> None:
    key = {"Idempotency-Key": "order-20"}
    first = (await api.execute(query="async_execute=false", headers=key)).json()
    again = await api.execute(headers=key)
    assert (again.status_code, again.json()["task_id"]) == (202, first["task_id"])
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for other in ({"variables": {"other": 1}}, {"max_retries": 9}, {"start_at": later}):
        wanted = {"variables": {"param1": "value1"}, **other}
        check(await api.execute(headers=key, json=wanted), "idempotency-conflict")
    inside = await api.execute(
        query="async_execute=false",
        headers=key,
        json={"variables": {"param1": "value1"}, "max_retries": 9},
    )
    check(inside, "idempotency-conflict")


async def test_a_key_is_good_for_the_same_start_time_also_when_it_has_passed(
    api: ApiUnderTest,
) -> None:
    key = {"Idempotency-Key": "order-21"}
    soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
    first = await api.execute(headers=key, json={"start_at": soon})
    assert first.json()["status"] == "pending"
    await asyncio.sleep(0.4)
    again = await api.execute(headers=key, json={"start_at": soon})
    assert again.json()["task_id"] == first.json()["task_id"]
    check(await api.execute(headers=key, json={}), "idempotency-conflict")


async def test_a_start_time_that_has_passed_means_at_once(api: ApiUnderTest) -> None:
    past = {"start_at": "1960-01-01T00:00:00Z"}
    assert (await api.execute(json=past)).json()["status"] == "queued"
    inside = await api.execute(query="async_execute=false", json=past)
    assert inside.json()["status"] == "completed"


async def test_variables_that_no_worker_could_read_are_refused(api: ApiUnderTest) -> None:
    deep = b'{"variables": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}"
    headers = {"Content-Type": "application/json"}
    for query in ("async_execute=true", "async_execute=false"):
        response = await api.execute(query=query, json=None, content=deep, headers=headers)
        check(response, "invalid-request")
        assert response.json()["errors"][0]["pointer"] == "/variables"


async def test_a_key_that_went_through_the_queue_is_not_run_again_inside(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    key = {"Idempotency-Key": "order-19"}
    first = (await api.execute(headers=key)).json()
    waiting = await api.execute(query="async_execute=false", headers=key)
    assert (waiting.status_code, waiting.json()["status"]) == (202, "queued")
    await worker.complete(b'{"variables":{}}')
    ended = (await api.execute(query="async_execute=false", headers=key)).json()
    assert ended["task_id"] == first["task_id"]
    assert (ended["status"], ended["execution"]) == ("completed", "queue")


@pytest.mark.parametrize("query", ["async_execute=maybe", "async_execute="])
async def test_a_wrong_parameter_is_a_422(api: ApiUnderTest, query: str) -> None:
    response = await api.execute(query=query)
    check(response, "invalid-request")
    assert response.json()["errors"][0]["parameter"] == "async_execute"


async def test_a_payload_over_the_queues_limit_is_a_413(
    server: RedisServer, tmp_path: Path
) -> None:
    settings = api_settings(tmp_path, server.url, queue={"max_payload_bytes": 200})
    async with running(settings) as api:
        for query in ("async_execute=true", "async_execute=false"):
            response = await api.execute(query=query, json={"variables": {"a": "x" * 300}})
            check(response, "payload-too-large")


async def test_a_full_queue_is_a_503(server: RedisServer, tmp_path: Path) -> None:
    async with running(api_settings(tmp_path, server.url, queue={"max_length": 1})) as api:
        assert (await api.execute()).status_code == 202
        response = await api.execute()
        check(response, "queue-full")
        assert int(response.headers["retry-after"]) >= 1


async def test_workflows_are_listed_with_what_could_not_be_loaded(api: ApiUnderTest) -> None:
    body = (await api.get("/api/workflows")).json()
    assert [workflow["workflow_id"] for workflow in body["workflows"]] == [
        "failing",
        "my-workflow",
        "waiting",
    ]
    assert [error["file"] for error in body["errors"]] == ["broken.yaml"]
    detail = (await api.get("/api/workflows/my-workflow")).json()
    assert detail["definition"] == ECHO
    assert detail["title"] == "Gives its variables back"


async def test_a_start_in_seconds_makes_the_task_wait(api: ApiUnderTest, queue: TaskQueue) -> None:
    before = datetime.now(UTC)
    body = (await api.execute(json={"start_in": 60})).json()
    assert body["status"] == "pending"
    due_at = (await queue.get(body["task_id"])).due_at
    assert due_at is not None
    assert timedelta(seconds=55) < due_at - before < timedelta(seconds=70)
    at_once = await api.execute(json={"start_in": 0})
    assert at_once.json()["status"] in ("queued", "pending")
    inside = await api.execute(json={"start_in": 60}, query="async_execute=false")
    check(inside, "invalid-request")


async def test_a_key_is_good_for_the_same_delay_and_for_no_other(api: ApiUnderTest) -> None:
    async def status(**start: object) -> int:
        headers = {"Idempotency-Key": "later"}
        await asyncio.sleep(0.005)
        return (await api.execute(json=start, headers=headers)).status_code

    assert await status(start_in=60) == 202
    assert await status(start_in=60.0) == 202
    assert await status(start_in=61) == 409
    assert await status() == 409

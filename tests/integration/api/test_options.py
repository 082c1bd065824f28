"""Headers and tags over HTTP: what callers send, what the API adds, and an upgrade meanwhile."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from headrace.handlers import Context, handler
from tests.unit.api.harness import ApiUnderTest, api_settings, check, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headrace.taskqueue import TaskQueue
    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_PARENT = "00-11111111111111111111111111111111-2222222222222222-00"
KEY = "hr_billing"
HEADERS, TAGS = {"tenant": "水"}, ["nightly", "customer:7"]


@pytest.fixture
async def keyed(server: RedisServer, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """An API whose client has a key with the name `billing`."""
    entry = f"admin:{hashlib.sha256(KEY.encode()).hexdigest()}:billing"
    settings = api_settings(tmp_path, server.url, api_keys=entry)
    async with running(settings, headers={"Authorization": f"Bearer {KEY}"}) as found:
        yield found


async def submitted(api: ApiUnderTest, http: dict[str, str] | None = None, **body: Any) -> str:
    """Submit a task; returns its id."""
    body = {"payload": {"url": "a.jpg"}, **body}
    reply = await api.post("/api/tasks/resize_image", json=body, headers=http)
    assert reply.status_code == 202, reply.text
    task_id: str = reply.json()["task_id"]
    return task_id


def become_old(server: RedisServer, worker: HandWorker) -> None:
    """As a worker of 0.2.0 registers: nothing says which records it reads."""
    server.client.hdel(f"{{headrace}}:worker:{worker.id}", "reads")
    server.client.hdel("{headrace}:meta", "old_worker")


async def test_they_reach_the_worker_and_stand_in_the_record(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    task_id = await submitted(api, headers=HEADERS, tags=TAGS)
    task = await worker.complete()
    assert (task.headers, list(task.tags)) == (HEADERS, TAGS)
    record = (await api.get(f"/api/tasks/{task_id}")).json()
    assert list(record)[-2:] == ["headers", "tags"]
    assert (record["headers"], record["tags"]) == (HEADERS, TAGS)


async def test_a_record_without_them_has_no_such_field(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    task_id = await submitted(api)
    record = (await api.get(f"/api/tasks/{task_id}")).json()
    assert list(record)[-1] == "live_workers"
    await worker.fail("no")
    [listed] = (await api.get("/api/workflows/queue/resize_image/dead-letters")).json()["items"]
    assert not {"headers", "tags"} & set(listed)


async def test_each_task_of_a_batch_and_each_workflow_has_its_own(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker
) -> None:
    tasks = [{"payload": {"url": "a"}, "tags": [tag]} for tag in TAGS]
    reply = await api.post("/api/tasks/resize_image/batch", json={"tasks": tasks})
    ids = [task["task_id"] for task in reply.json()["tasks"]]
    assert [(await queue.get(task_id)).tags for task_id in ids] == [(tag,) for tag in TAGS]
    reply = await api.execute(json={"headers": HEADERS, "tags": TAGS})
    task = await queue.get(reply.json()["task_id"])
    assert (task.headers, list(task.tags)) == (HEADERS, TAGS)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"headers": {"headrace-key": "me"}}, "/headers"),
        ({"headers": {"Tenant": "a"}}, ""),
        ({"headers": {"a\n": "a"}}, ""),
        ({"headers": {"a": 1}}, "/headers"),
        ({"headers": []}, "/headers"),
        ({"headers": {"a": "x" * 4096}}, ""),
        ({"tags": ["a b"]}, ""),
        ({"tags": ["a\n"]}, ""),
        ({"tags": "nightly"}, "/tags"),
        ({"tags": [f"t{n}" for n in range(2000)]}, ""),
    ],
)
async def test_what_no_task_may_have_is_refused_with_its_place(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker, body: dict[str, Any], pointer: str
) -> None:
    task = {"payload": {"url": "a"}, **body}
    reply = await api.post("/api/tasks/resize_image", json=task)
    check(reply, "invalid-request")
    assert [error["pointer"] for error in reply.json()["errors"]] == [pointer]
    reply = await api.post(
        "/api/tasks/resize_image/batch", json={"tasks": [{"payload": {"url": "a"}}, task]}
    )
    check(reply, "invalid-request")
    assert [error["pointer"] for error in reply.json()["errors"]] == [f"/tasks/1{pointer}"]
    check(await api.execute(json=body), "invalid-request")
    assert (await queue.stats()).queues["resize_image"].queue_length == 0


async def test_the_api_adds_the_name_of_the_key_and_the_traceparent(
    keyed: ApiUnderTest, worker: HandWorker
) -> None:
    await submitted(keyed, {"traceparent": PARENT})
    assert (await worker.complete()).headers == {"headrace-key": "billing", "traceparent": PARENT}
    await submitted(keyed, {"traceparent": PARENT}, headers={"traceparent": OTHER_PARENT})
    assert (await worker.complete()).headers["traceparent"] == OTHER_PARENT
    await keyed.execute(headers={"traceparent": PARENT})
    assert (await worker.complete()).headers == {"headrace-key": "billing", "traceparent": PARENT}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "ff" + PARENT[2:],
        PARENT.upper(),
        PARENT + "-more",
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
    ],
)
async def test_a_traceparent_that_is_none_is_passed_over(
    api: ApiUnderTest, worker: HandWorker, parent: str
) -> None:
    await submitted(api, {"traceparent": parent})
    assert (await worker.complete()).headers == {}


async def test_while_an_old_worker_lives_only_what_callers_ask_for_is_refused(
    keyed: ApiUnderTest, worker: HandWorker, server: RedisServer
) -> None:
    tagged = await submitted(keyed, tags=TAGS)
    await worker.fail("no")
    become_old(server, worker)
    body = {"payload": {"url": "a.jpg"}, "headers": HEADERS}
    for refused in (
        await keyed.post("/api/tasks/resize_image", json=body),
        await keyed.post("/api/tasks/resize_image/batch", json={"tasks": [body]}),
        await keyed.execute(json={"tags": TAGS}),
        await keyed.post(f"/api/tasks/{tagged}/retry"),
    ):
        check(refused, "upgrade-in-progress")
        assert int(refused.headers["retry-after"]) >= 1
    # What the API adds by itself keeps nothing back, and leaves the record at version 1.
    task_id = await submitted(keyed, {"traceparent": PARENT})
    assert int(server.client.hget(f"{{headrace}}:task:{task_id}", "v") or 0) == 1


async def test_while_an_old_worker_lives_workflows_that_it_cannot_read_are_refused(
    server: RedisServer, tmp_path: Path, worker: HandWorker
) -> None:
    names = "document: {dsl: '1.0.3', namespace: tests, name: %s, version: '1.0.0'}"
    steps = {"plain": "set: {n: 1}", "forked": "fork: {branches: [{b: {set: {n: 1}}}]}"}
    settings = api_settings(tmp_path, server.url)
    folder = tmp_path / "workflows"
    for name, step in steps.items():
        (folder / f"{name}.yaml").write_text(f"{names % name}\ndo: [{{a: {{{step}}}}}]\n")
    async with running(settings) as api:
        become_old(server, worker)
        check(await api.post("/api/workflows/forked/execute", json={}), "upgrade-in-progress")
        body = {"payload": {"workflow_id": "forked"}}
        check(await api.post("/api/tasks/workflow_execute", json=body), "upgrade-in-progress")
        plain = await api.post("/api/workflows/plain/execute", json={})
        assert plain.status_code == 202
        server.client.hset(f"{{headrace}}:worker:{worker.id}", "reads", 2)
        server.client.hdel("{headrace}:meta", "old_worker")
        forked = (await api.post("/api/workflows/forked/execute", json={})).json()["task_id"]
    versions = [
        int(server.client.hget(f"{{headrace}}:task:{task_id}", "v") or 0)
        for task_id in (plain.json()["task_id"], forked)
    ]
    assert versions == [1, 2]


async def test_the_same_key_finds_its_task_whatever_its_headers_are(
    api: ApiUnderTest, worker: HandWorker
) -> None:
    first = await submitted(api, {"Idempotency-Key": "a"}, headers=HEADERS)
    assert await submitted(api, {"Idempotency-Key": "a"}, tags=TAGS) == first


@handler("show", max_retries=0)
async def show(ctx: Context, payload: Any) -> dict[str, str]:
    return dict(ctx.headers)


async def test_a_run_inside_the_request_has_them_too(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path), show) as api:
        body = {"payload": None, "headers": HEADERS, "tags": TAGS}
        http = {"traceparent": PARENT}
        record = (await api.post("/api/tasks/show", json=body, headers=http)).json()
    assert record["result"] == record["headers"] == {**HEADERS, "traceparent": PARENT}
    assert record["tags"] == TAGS

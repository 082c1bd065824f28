"""Who sees a task's result, on each way that one leaves the API."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from headrace import AsyncClient, ResultHidden
from headrace.settings import ApiKey, Role
from headrace.taskqueue import NewTask, TaskQueue, new_id
from tests.integration.api.processes import ApiProcess
from tests.unit.api.harness import api_settings, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer
    from tests.unit.api.harness import ApiUnderTest

RESULT = {"city": "Ulm", "api_token": "T-1"}
REDACTED = {"city": "Ulm", "api_token": "[redacted]"}

KEYS = {
    "owner": Role.SUBMIT,
    "other": Role.SUBMIT,
    "reader": Role.READ,
    "manager": Role.MANAGER,
    "admin": Role.ADMIN,
}
FULL = ("owner", "manager", "admin")
WAYS = ("record", "twin", "held", "wait", "live")
"""The ways by which a record with its result leaves the API."""


def keys(*, named: bool = True) -> tuple[ApiKey, ...]:
    return tuple(
        ApiKey(role, hashlib.sha256(name.encode()).digest(), name if named else "")
        for name, role in KEYS.items()
    )


def by(name: str, **headers: str) -> dict[str, Any]:
    return {"headers": {"X-API-Key": name, **headers}}


@pytest.fixture
async def hiding(
    server: RedisServer, tmp_path: Path, worker: HandWorker
) -> AsyncIterator[ApiUnderTest]:
    settings = api_settings(tmp_path, server.url, api_keys=keys(), hide_payloads=True)
    async with running(settings) as found:
        yield found


async def completed(api: ApiUnderTest, worker: HandWorker) -> str:
    """A task of the owner that has ended with the result."""
    body = {"payload": {"url": "a"}}
    reply = await api.post("/api/tasks/resize_image", json=body, **by("owner"))
    await worker.complete(json.dumps(RESULT).encode())
    task_id: str = reply.json()["task_id"]
    return task_id


async def record(api: ApiUnderTest, task_id: str, way: str, name: str) -> dict[str, Any]:
    """The task's record as this key sees it on this way."""
    address = f"/api/tasks/{task_id}"
    if way == "live":
        reply = await api.get(f"{address}/live", **by(name))
        [data] = [line for line in reply.text.splitlines() if line.startswith("data: ")]
        found: dict[str, Any] = json.loads(data.removeprefix("data: "))
        return found
    if way == "wait":
        reply = await api.post("/api/tasks/wait", json={"ids": [task_id]}, **by(name))
        [found] = reply.json()["tasks"]
        return found
    if way == "twin":
        address = f"/api/workflows/tasks/{task_id}"
    headers = {"Prefer": "wait=1"} if way == "held" else {}
    return dict((await api.get(address, **by(name, **headers))).json())


@pytest.mark.parametrize("way", WAYS)
async def test_a_hidden_result_is_for_its_submitter_and_for_managers(
    hiding: ApiUnderTest, worker: HandWorker, way: str
) -> None:
    task_id = await completed(hiding, worker)
    for name in KEYS:
        found = await record(hiding, task_id, way, name)
        assert found["status"] == "completed"
        if name in FULL:
            assert found["result"] == RESULT, name
            assert "hidden" not in found
        else:
            assert found["result"] is None, name
            assert found["hidden"] == ["result"]


@pytest.mark.parametrize("way", WAYS)
async def test_another_key_sees_a_result_without_its_secrets(
    server: RedisServer, tmp_path: Path, worker: HandWorker, way: str
) -> None:
    async with running(api_settings(tmp_path, server.url, api_keys=keys())) as api:
        task_id = await completed(api, worker)
        for name in KEYS:
            found = await record(api, task_id, way, name)
            assert found["result"] == (RESULT if name in FULL else REDACTED), name
            assert "hidden" not in found


async def test_no_list_and_no_sample_has_a_result(hiding: ApiUnderTest, worker: HandWorker) -> None:
    await completed(hiding, worker)
    for name in KEYS:
        [item] = (await hiding.get("/api/tasks", **by(name))).json()["items"]
        assert "result" not in item
    order = {"action": "delete", "filter": {"type": "resize_image"}}
    reply = await hiding.post("/api/bulk?dry_run=true", json=order, **by("manager"))
    [sample] = reply.json()["samples"]
    assert "result" not in sample


async def test_a_run_inside_the_request_is_shown_to_whoever_ran_it(hiding: ApiUnderTest) -> None:
    """Also if the key of an earlier request is guessed: that shows what its record shows."""
    keyed = {"Idempotency-Key": "a-key-that-can-be-guessed"}
    query = "async_execute=false"
    own = (await hiding.execute(query=query, **by("owner", **keyed))).json()
    assert own["status"] == "completed"
    assert own["result"] is not None
    again = (await hiding.execute(query=query, **by("owner", **keyed))).json()
    assert (again["task_id"], again["result"]) == (own["task_id"], own["result"])
    other = (await hiding.execute(query=query, **by("other", **keyed))).json()
    assert (other["task_id"], other["result"]) == (own["task_id"], None)
    assert other["hidden"] == ["result"]


async def test_a_key_without_a_name_sees_what_it_ran_and_no_result_later(
    server: RedisServer, tmp_path: Path, worker: HandWorker
) -> None:
    settings = api_settings(tmp_path, server.url, api_keys=keys(named=False), hide_payloads=True)
    async with running(settings) as api:
        task_id = await completed(api, worker)
        assert (await record(api, task_id, "record", "owner"))["hidden"] == ["result"]
        inline = (await api.execute(query="async_execute=false", **by("owner"))).json()
        assert inline["result"] is not None


async def test_nothing_is_hidden_before_there_is_a_result(
    hiding: ApiUnderTest, queue: TaskQueue
) -> None:
    submitted = await queue.submit(NewTask(type="resize_image", payload=b"{}", id=new_id()))
    found = await record(hiding, submitted.id, "record", "reader")
    assert (found["result"], "hidden" in found) == (None, False)
    run_id = (await hiding.execute(**by("owner"))).json()["task_id"]
    assert (await record(hiding, run_id, "record", "reader"))["hidden"] == ["workflow"]


async def test_a_submitters_client_gets_its_result_and_another_is_told_that_it_is_hidden(
    server: RedisServer, tmp_path: Path, worker: HandWorker
) -> None:
    entries = [f"{key.role}:{key.digest.hex()}:{key.name}" for key in keys()]
    settings = {"REDIS_URL": server.url, "API_KEYS": ",".join(entries), "HIDE_PAYLOADS": "true"}
    with ApiProcess(tmp_path / "log", settings) as process:
        async with AsyncClient(process.url, "owner") as client:
            handle = await client.submit("resize_image", {"url": "a"})
            await worker.complete(json.dumps(RESULT).encode())
            assert await handle.result(20) == RESULT
        async with AsyncClient(process.url, "reader") as client:
            with pytest.raises(ResultHidden, match="use the key that submitted it"):
                await client.handle(handle.id).result(20)

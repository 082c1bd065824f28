"""What a task's record shows when it is asked for, and who sees it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from headrace.settings import ApiKey, Role
from headrace.taskqueue import NewTask, TaskQueue, new_id
from tests.unit.api.harness import api_settings, running, write_workflows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.api.conftest import HandWorker
    from tests.servers import RedisServer
    from tests.unit.api.harness import ApiUnderTest


async def submit(queue: TaskQueue, payload: bytes) -> str:
    task = NewTask(type="resize_image", payload=payload, id=new_id())
    return (await queue.submit(task)).id


async def test_a_payload_is_shown_without_its_secrets(api: ApiUnderTest, queue: TaskQueue) -> None:
    task_id = await submit(
        queue, b'{"url":"a","auth":[{"api_key":"K1","Password":"K2"}],"token":null}'
    )
    plain = (await api.get(f"/api/tasks/{task_id}")).json()
    assert not {"payload", "state", "workflow", "attempts"} & set(plain)
    reply = await api.get(f"/api/tasks/{task_id}?include=payload,attempts")
    body = reply.json()
    assert body["payload"] == {
        "url": "a",
        "auth": [{"api_key": "[redacted]", "Password": "[redacted]"}],
        "token": None,
    }
    assert body["attempts"] == []
    assert "K1" not in reply.text
    reply = await api.get(f"/api/tasks/{task_id}?include=payload,everything")
    assert reply.status_code == 422
    assert "take payload, attempts, state" in reply.json()["detail"]


async def test_a_state_is_shown_while_it_is_kept(
    api: ApiUnderTest, queue: TaskQueue, worker: HandWorker
) -> None:
    task_id = await submit(queue, b"1")
    task = await worker.claim()
    state = b'{"step":3,"token":"K"}'
    await worker.consumer.checkpoint(task, state)
    body = (await api.get(f"/api/tasks/{task_id}?include=state")).json()
    assert body["state"] == {
        "bytes": len(state),
        "value": {"step": 3, "token": "[redacted]"},
    }


async def test_a_workflows_run_says_what_it_was_started_with(api: ApiUnderTest) -> None:
    task_id = (await api.execute()).json()["task_id"]
    body = (await api.get(f"/api/tasks/{task_id}")).json()
    assert body["workflow"] == {
        "workflow_id": "my-workflow",
        "version": "1.0.0",
        "variables": {"param1": "value1"},
    }


async def test_hidden_payloads_are_for_managers(
    server: RedisServer, queue: TaskQueue, tmp_path: Path
) -> None:
    keys = {str(role): role for role in (Role.READ, Role.SUBMIT, Role.MANAGER, Role.ADMIN)}
    entries = tuple(
        ApiKey(role, hashlib.sha256(name.encode()).digest(), name) for name, role in keys.items()
    )
    write_workflows(tmp_path)
    task_id = await submit(queue, b'{"city":"Ulm"}')

    def by(name: str) -> dict[str, Any]:
        return {"headers": {"X-API-Key": name}}

    settings = api_settings(tmp_path, server.url, api_keys=entries, hide_payloads=True)
    async with running(settings) as api:
        run_id = (await api.execute(**by("submit"))).json()["task_id"]
        for name in keys:
            may = name in ("manager", "admin")
            for address in (
                f"/api/tasks/{task_id}?include=payload",
                f"/api/workflows/tasks/{task_id}?include=state",
                "/api/tasks?q=Ulm",
            ):
                reply = await api.get(address, **by(name))
                assert reply.status_code == (200 if may else 403), (name, address)
            shown = (await api.get(f"/api/tasks/{run_id}?include=attempts", **by(name))).json()
            assert ("workflow" in shown) == may
            assert "attempts" in shown

"""Who has changed what: each change is noted with the key's name."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from headrace.settings import ApiKey, Role
from headrace.taskqueue import AUDIT_KEPT, NewTask, TaskQueue, new_id
from tests.unit.api.harness import api_settings, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer
    from tests.unit.api.harness import ApiUnderTest

KEYS = {"boss": Role.ADMIN, "shop": Role.SUBMIT}
ENTRIES = tuple(
    ApiKey(role, hashlib.sha256(name.encode()).digest(), name) for name, role in KEYS.items()
)


def by(name: str) -> dict[str, Any]:
    return {"headers": {"X-API-Key": name}}


async def changes(api: ApiUnderTest, query: str = "") -> list[tuple[str, str, str]]:
    reply = await api.get(f"/api/audit{query}", **by("boss"))
    assert reply.status_code == 200
    return [(item["key"], item["action"], item["subject"]) for item in reply.json()["items"]]


async def test_changes_are_noted_and_refused_ones_are_not(
    server: RedisServer, queue: TaskQueue, tmp_path: Path
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    task = NewTask(type="resize_image", payload=b"1", id=new_id(), start_at=later)
    await queue.submit(task)
    async with running(api_settings(tmp_path, server.url, api_keys=ENTRIES)) as api:
        at = f"/api/tasks/{task.id}"
        assert (await api.post(f"{at}/run-now", **by("shop"))).status_code == 202
        assert (await api.post(f"{at}/run-now", **by("shop"))).status_code == 409
        assert (await api.delete(at, **by("shop"))).status_code == 403
        cancelled = await api.post(f"/api/tasks/{task.id.upper()}/cancel", **by("shop"))
        assert cancelled.status_code == 200
        assert (await api.delete(at, **by("boss"))).status_code == 204
        bulk = {"action": "delete", "filter": {"status": "failed"}}
        dry = await api.post("/api/bulk?dry_run=true", json=bulk, **by("boss"))
        assert dry.status_code == 200
        started = await api.post("/api/bulk", json=bulk, **by("boss"))
        bulk_id = started.json()["bulk_id"]
        done = [
            ("boss", "start-bulk", bulk_id),
            ("boss", "delete-task", task.id),
            ("shop", "cancel-task", task.id),
            ("shop", "run-task", task.id),
        ]
        assert await changes(api) == done
        assert await changes(api, "?key=shop") == done[2:]
        assert await changes(api, f"?subject={task.id}") == done[1:]
        assert await changes(api, "?action=cancel-task") == done[2:3]
        assert (await api.get("/api/audit", **by("shop"))).status_code == 403


async def test_the_list_goes_on_page_by_page_and_has_a_bound(queue: TaskQueue) -> None:
    for n in range(2500):
        await queue.audit.note("k" if n % 500 == 0 else "other", "cancel-task", str(n), "r")
    page = await queue.audit.newest(key="k", limit=3)
    assert [entry.subject for entry in page.entries] == ["2000", "1500", "1000"]
    page = await queue.audit.newest(key="k", limit=3, cursor=page.cursor)
    assert [entry.subject for entry in page.entries] == ["500", "0"]
    assert page.cursor is None
    page = await queue.audit.newest(limit=200)
    assert page.entries[-1].subject == "2300"
    assert AUDIT_KEPT == 10_000

"""A workflow's `input.schema` is checked before anything is queued, at every door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.api.harness import api_settings, check, running

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.taskqueue import TaskQueue
    from tests.servers import RedisServer

PERSON = """
document: {dsl: '1.0.3', namespace: tests, name: person, version: '1.0.0'}
input:
  schema:
    document:
      required: [name]
      properties: { name: { type: string }, tags: { items: { type: string } } }
do:
  - echo: { set: "${ . }" }
"""
WRONG: dict[str, Any] = {"name": 7, "tags": ["a", 1]}
DOORS: list[tuple[str, str, dict[str, Any]]] = [
    ("/api/workflows/person/execute", "/variables", {"variables": WRONG}),
    ("/api/workflows/person/execute?async_execute=false", "/variables", {"variables": WRONG}),
    (
        "/api/tasks/workflow_execute",
        "/payload/variables",
        {"payload": {"workflow_id": "person", "variables": WRONG}},
    ),
    (
        "/api/tasks/workflow_execute/batch",
        "/tasks/1/payload/variables",
        {
            "tasks": [
                {"payload": {"workflow_id": "person", "variables": variables}}
                for variables in ({"name": "Ada"}, WRONG)
            ]
        },
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "person.yaml").write_text(PERSON)
    return tmp_path


@pytest.mark.parametrize("queued", [True, False], ids=["queue", "no-queue"])
async def test_variables_that_do_not_fit_are_a_422_with_pointers_and_nothing_is_queued(
    server: RedisServer, queue: TaskQueue, folder: Path, queued: bool
) -> None:
    async with running(api_settings(folder, server.url if queued else None)) as api:
        for address, pointer, body in DOORS:
            if not queued and address.endswith("batch"):
                continue  # refused before it is looked into
            refused = await api.post(address, json=body)
            check(refused, "invalid-payload")
            assert refused.json()["errors"] == [
                {"detail": '7 is not of type "string"', "pointer": f"{pointer}/name"},
                {"detail": '1 is not of type "string"', "pointer": f"{pointer}/tags/1"},
            ], address
        keyed = {"Idempotency-Key": "once"}
        check(await api.execute("person", json={}, headers=keyed), "invalid-payload")
    queues = (await queue.stats()).queues
    assert all(stats.queue_length == 0 for stats in queues.values())


async def test_variables_that_fit_are_taken_and_the_schema_is_shown(
    server: RedisServer, folder: Path
) -> None:
    async with running(api_settings(folder, server.url)) as api:
        assert (await api.execute("person", json={"variables": {"name": "Ada"}})).status_code == 202
        detail = (await api.get("/api/workflows/person")).json()
        assert detail["input_schema"]["required"] == ["name"]
        assert (await api.get("/api/workflows/my-workflow")).json()["input_schema"] is None

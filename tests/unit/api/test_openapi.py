"""The OpenAPI document: every address with an example, its errors and the roles it asks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from services.api.problems import MEDIA_TYPE
from tests.unit.api.harness import api_settings, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


async def document(folder: Path) -> dict[str, Any]:
    async with running(api_settings(folder)) as api:
        response = await api.get("/openapi.json")
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found


def operations(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


async def test_every_address_of_the_guide_and_more_is_in_it(tmp_path: Path) -> None:
    found = dict(operations(await document(tmp_path)))
    assert {
        "POST /api/workflows/{workflow_id}/execute",
        "GET /api/workflows/tasks/{task_id}",
        "POST /api/workflows/tasks/{task_id}/cancel",
        "POST /api/workflows/tasks/{task_id}/retry",
        "GET /api/workflows/queue/stats",
        "GET /api/workflows/queue/history",
        "GET /api/workflows/queue/{task_type}/dead-letters",
        "GET /api/workflows",
        "GET /api/workflows/{workflow_id}",
        "POST /api/tasks/{task_type}",
        "POST /api/tasks/{task_type}/batch",
        "GET /api/tasks/{task_id}",
        "POST /api/tasks/{task_id}/cancel",
        "POST /api/tasks/{task_id}/retry",
        "GET /api/workers",
        "POST /api/workers/{worker_id}/drain",
        "POST /api/workers/{worker_id}/undrain",
        "GET /healthz",
        "GET /readyz",
    } == set(found)


async def test_every_example_fits_its_schema(tmp_path: Path) -> None:
    found = await document(tmp_path)
    checked = 0
    for name, operation in operations(found):
        contents = [response.get("content", {}) for response in operation["responses"].values()]
        contents.append(operation.get("requestBody", {}).get("content", {}))
        for content in contents:
            for media_type, described in content.items():
                schema = {**described["schema"], "components": found["components"]}
                examples = [one["value"] for one in described.get("examples", {}).values()]
                examples += [described["example"]] if "example" in described else []
                assert examples, f"{name} has no example of {media_type}"
                for example in examples:
                    jsonschema_rs.validate(schema, example)
                    checked += 1
    assert checked > 50


async def test_every_reference_leads_somewhere(tmp_path: Path) -> None:
    found = await document(tmp_path)
    text = json.dumps(found)
    assert "HTTPValidationError" not in text
    schemas = found["components"]["schemas"]
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in schemas


async def test_guarded_addresses_tell_their_roles_and_refusals(tmp_path: Path) -> None:
    for name, operation in operations(await document(tmp_path)):
        assert MEDIA_TYPE in operation["responses"]["500"]["content"], name
        if name in ("GET /healthz", "GET /readyz"):
            assert operation["security"] == []
            continue
        assert "Roles: " in operation["description"], name
        assert {"401", "403"} <= set(operation["responses"]), name

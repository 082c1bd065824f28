"""The OpenAPI document: every address with an example, its errors and the roles it asks for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec
import pytest

from headrace.contract import problems
from headrace.contract.problems import MEDIA_TYPE
from headrace.handlers.builtin import builtin_types
from headrace.workflows import Catalog, HttpPolicy, Runtime
from headrace_api.http.bodies import SubmitBody, start_of
from headrace_api.routes import examples
from tests.unit.api.harness import api_settings, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[4]


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
        "POST /api/tasks/wait",
        "GET /api/tasks",
        "GET /api/tasks/counts",
        "DELETE /api/tasks/{task_id}",
        "GET /api/audit",
        "PATCH /api/tasks/{task_id}",
        "GET /api/tasks/{task_id}/why",
        "POST /api/tasks/{task_id}/run-now",
        "GET /api/tasks/{task_id}",
        "POST /api/tasks/{task_id}/cancel",
        "POST /api/tasks/{task_id}/retry",
        "GET /api/live",
        "GET /api/tasks/{task_id}/live",
        "POST /api/bulk",
        "GET /api/bulk",
        "GET /api/bulk/{bulk_id}",
        "POST /api/bulk/{bulk_id}/stop",
        "POST /api/bulk/{bulk_id}/resume",
        "GET /api/task-types",
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
                values = [case["value"] for case in described.get("examples", {}).values()]
                values += [described["example"]] if "example" in described else []
                assert values, f"{name} has no example of {media_type}"
                for example in values:
                    jsonschema_rs.validate(schema, example)
                    checked += 1
    assert checked > 50


async def test_summaries_are_sentences_and_every_tag_is_described(tmp_path: Path) -> None:
    found = await document(tmp_path)
    described = {tag["name"]: tag["description"] for tag in found["tags"]}
    assert all(len(text.split()) > 4 for text in described.values())
    used = set()
    for name, operation in operations(found):
        assert operation["summary"].endswith("."), name
        assert "`" not in operation["summary"], f"{name}: a summary is shown as plain text"
        assert len(operation["summary"].split()) >= 3, name
        assert not operation["description"].startswith(operation["summary"]), name
        used.update(operation["tags"])
    assert used == set(described)


async def test_every_problem_type_has_an_example_of_its_own(tmp_path: Path) -> None:
    found = await document(tmp_path)
    seen: dict[str, dict[str, Any]] = {}
    for _, operation in operations(found):
        for response in operation["responses"].values():
            for slug, example in (
                response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}).items()
            ):
                seen[slug] = example["value"]
                assert example["value"]["type"] == problems.ALL[slug].uri
    texts = [value["detail"] for value in seen.values()]
    assert len(set(texts)) == len(texts) > 15
    assert all("…" not in value["instance"] for value in seen.values())


@pytest.mark.parametrize("name", examples.SUBMIT_BODIES)
def test_the_example_of_each_task_type_is_one_that_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "package" / "src"))
    builtins = builtin_types(Catalog.load(ROOT / "examples" / "workflows"), Runtime(HttpPolicy()))
    types = [*builtins, import_module("invoices.tasks").invoice_total]
    [task_type] = [found for found in types if found.name == name]
    task_type.validate(msgspec.json.encode(examples.SUBMIT_BODIES[name]["value"]["payload"]))


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


async def test_what_an_address_allows_is_what_the_document_lists(tmp_path: Path) -> None:
    places = {
        "workflow_id": "my-workflow",
        "task_id": "550e8400-e29b-41d4-a716-446655440000",
        "task_type": "workflow_execute",
        "worker_id": "worker-1",
        "bulk_id": "7d444840-9dc0-41d4-b245-5ffdce74fad2",
    }
    async with running(api_settings(tmp_path)) as api:
        paths = (await api.get("/openapi.json")).json()["paths"]
        for path, methods in paths.items():
            refused = await api.client.put(path.format(**places))
            assert refused.status_code == 405, path
            # HEAD is answered wherever GET is.
            allowed = set(refused.headers["allow"].split(", ")) - {"HEAD"}
            assert allowed == {method.upper() for method in methods}, path


async def test_a_start_lies_as_far_ahead_as_the_document_says(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as api:
        schemas = (await api.get("/openapi.json")).json()["components"]["schemas"]
    today = datetime.now(UTC)
    ahead = today.replace(year=today.year + 100, day=min(today.day, 28))
    for name in ("ExecuteBody", "SubmitBody"):
        assert "at most 100 years ahead" in json.dumps(schemas[name]["properties"]["start_at"])
    assert start_of(SubmitBody(start_at=ahead)) == ahead

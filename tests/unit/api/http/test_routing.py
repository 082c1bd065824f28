"""What every address does before its own code: queries are checked, and HEAD is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.api.harness import api_settings, check, running

if TYPE_CHECKING:
    from pathlib import Path

TASK = "/api/tasks/550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize(
    ("method", "address", "parameter", "said"),
    [
        (
            "POST",
            "/api/workflows/my-workflow/execute?async_excute=0",
            "async_excute",
            "async_execute",
        ),
        (
            "POST",
            "/api/workflows/my-workflow/execute?fast=1",
            "fast",
            "this address takes async_execute",
        ),
        ("POST", "/api/tasks/t?async_execute=true", "async_execute", "this address takes none"),
        ("POST", "/api/tasks/t/batch?x", "x", "this address takes none"),
        ("GET", f"{TASK}?verbose=1", "verbose", "this address takes include"),
        ("POST", f"{TASK}/cancel?runing=true", "runing", "`running` is meant"),
        ("POST", f"{TASK}/retry?running=true", "running", "this address takes none"),
        ("GET", "/api/workflows?limit=5", "limit", "this address takes none"),
        ("GET", "/api/workflows/queue/stats?type=a", "type", "this address takes none"),
        ("GET", "/api/workflows/queue/history?types=a", "types", "`type` is meant"),
        ("GET", "/api/workflows/queue/chat_process/dead-letters?limits=2", "limits", "`limit` is"),
        ("GET", "/api/workers?%ff=%ff", "\N{REPLACEMENT CHARACTER}", "this address takes none"),
        ("GET", "/api/workflows?" + "x" * 5000, "x" * 64 + "…", "this address takes none"),
    ],
)
async def test_an_unknown_query_parameter_is_refused_and_the_right_one_named(
    tmp_path: Path, method: str, address: str, parameter: str, said: str
) -> None:
    async with running(api_settings(tmp_path)) as api:
        response = await api.client.request(method, address)
        check(response, "invalid-request")
        assert said in response.json()["detail"]
        assert response.json()["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
async def test_a_probe_takes_what_a_load_balancer_adds(tmp_path: Path, address: str) -> None:
    async with running(api_settings(tmp_path)) as api:
        assert (await api.get(f"{address}?from=balancer")).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/healthz",
        "/docs",
        "/openapi.json",
        "/api/workflows",
        "/api/workflows/queue/stats",
        TASK,
    ],
)
async def test_head_answers_as_get_does(tmp_path: Path, address: str) -> None:
    async with running(api_settings(tmp_path)) as api:
        found, asked = await api.client.head(address), await api.get(address)
        assert found.status_code == asked.status_code
        assert found.headers.get("content-type") == asked.headers.get("content-type")


async def test_head_is_no_way_around_a_key_or_to_a_post(tmp_path: Path) -> None:
    key = "read:" + "0" * 64
    async with running(api_settings(tmp_path, api_keys=key)) as api:
        assert (await api.client.head("/api/workflows")).status_code == 401
        refused = await api.client.head("/api/tasks/resize_image/batch")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_the_name_that_was_meant_is_asked_for(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as api:
        workflow = await api.post("/api/workflows/my_workfow/execute")
        assert workflow.json()["detail"].endswith("Did you mean 'my-workflow'?")
        task_type = await api.post("/api/tasks/workflow-execute", json={"payload": {}})
        assert task_type.json()["detail"].endswith("Did you mean 'workflow_execute'?")
        queue = await api.get("/api/workflows/queue/chat-process/dead-letters")
        assert queue.json()["detail"].endswith("Did you mean 'chat_process'?")
        nothing_like_it = await api.post("/api/workflows/qqqq/execute")
        assert "Did you mean" not in nothing_like_it.json()["detail"]

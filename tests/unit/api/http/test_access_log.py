"""The access log: what polls and succeeds is written at debug level, all else at info."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace_api.http import middleware
from tests.unit.api.harness import api_settings, running

if TYPE_CHECKING:
    from pathlib import Path

TASK = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The level of each line of the access log."""
    found: list[str] = []
    monkeypatch.setattr(middleware.log, "debug", lambda *_, **__: found.append("debug"))
    monkeypatch.setattr(middleware.log, "info", lambda *_, **__: found.append("info"))
    return found


@pytest.mark.parametrize(
    ("method", "address", "level"),
    [
        ("GET", "/healthz", "debug"),
        ("HEAD", "/healthz", "debug"),
        ("GET", "/readyz", "debug"),
        ("GET", "/api/workflows/queue/stats", "debug"),
        ("GET", "/api/workers", "debug"),
        ("GET", "/api/workers?unknown=1", "info"),
        ("GET", f"/api/tasks/{TASK}", "info"),  # there is no such task
        ("POST", "/api/workflows/queue/stats", "info"),
        ("GET", "/api/workflows", "info"),
        ("POST", "/api/workflows/my-workflow/execute", "info"),
    ],
)
async def test_a_poll_that_succeeds_is_logged_at_debug(
    tmp_path: Path, levels: list[str], method: str, address: str, level: str
) -> None:
    async with running(api_settings(tmp_path)) as api:
        await api.client.request(method, address)
    assert levels == [level]

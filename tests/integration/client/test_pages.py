"""What the pages show of the client is run."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from headrace import TaskHandle
from tests.integration.client.conftest import System
from tests.unit.test_documentation import ROOT, blocks


@pytest.mark.parametrize(("page", "greeting"), [("README.md", "Ada"), ("README.zh-CN.md", "小明")])
def test_the_readmes_program_prints_a_workflows_result(
    page: str, greeting: str, system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = [code for code in blocks(page, "python") if "Client(" in code]
    exec(code.replace("http://localhost:8000", system.url("http")), {})
    assert f"Hello, {greeting}!" in capsys.readouterr().out


async def test_the_fastapi_application_submits_by_one_client(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = [code for code in blocks("docs/client.md", "python") if "FastAPI(" in code]
    scope: dict[str, Any] = {"__name__": "application"}
    exec(code.replace('"thumbnail_create", {"url": url}', '"act", [url]'), scope)
    monkeypatch.setenv("HEADRACE_URL", system.url("http"))
    app = scope["app"]
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://app") as browser,
    ):
        reply = await browser.post("/photos", params={"url": "https://example.com/a.png"})
        task_id = reply.json()["task_id"]
        record = await app.state.headrace.handle(task_id).wait(20)
    assert record.result == {"steps": 1}


def test_the_page_names_every_method_of_a_handle() -> None:
    page = (ROOT / "docs/client.md").read_text(encoding="utf-8")
    names = {name for name in dir(TaskHandle) if not name.startswith("_")}
    assert {name for name in names if f"{name}(" not in page} == set()

"""The API inside the test: the real application, with a client that calls it without a socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from headrace.contract import problems
from headrace.contract.problems import MEDIA_TYPE
from headrace.settings import ApiSettings, QueueSettings, WorkflowSettings
from headrace_api.application import edge, new_api, new_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headrace.handlers import TaskType
    from headrace_api.context import Api

MEMBERS = ["type", "title", "status", "detail", "instance", "request_id"]

ECHO = """
document:
  dsl: '1.0.3'
  namespace: tests
  name: my-workflow
  version: '1.0.0'
  title: Gives its variables back
do:
  - echo:
      set: ${ . }
"""

WAITING = """
document:
  dsl: '1.0.3'
  namespace: tests
  name: waiting
  version: '1.0.0'
do:
  - pause:
      wait:
        seconds: 30
"""

FAILING = """
document:
  dsl: '1.0.3'
  namespace: tests
  name: failing
  version: '1.0.0'
do:
  - compare:
      set:
        sum: ${ 1 + "one" }
"""

BROKEN = """
document:
  dsl: '1.0.3'
  namespace: tests
  name: broken
  version: '1.0.0'
do:
  - shell:
      run:
        shell:
          command: ls
"""


def write_workflows(folder: Path) -> Path:
    """A folder of definitions, one of them broken."""
    folder.mkdir(exist_ok=True)
    texts = {"my-workflow": ECHO, "waiting": WAITING, "failing": FAILING, "broken": BROKEN}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def api_settings(folder: Path, redis_url: str | None = None, **settings: Any) -> ApiSettings:
    """Settings for a test: no metrics port; without a URL the queue is switched off."""
    queue = QueueSettings(
        redis_url=redis_url or "redis://localhost:1/0",
        enabled=redis_url is not None,
        **settings.pop("queue", {}),
    )
    workflows = WorkflowSettings(dir=write_workflows(folder / "workflows"))
    return ApiSettings(queue=queue, workflows=workflows, **{"metrics_port": 0, **settings})


class ApiUnderTest:
    """The parts of a running API and a client that calls it."""

    def __init__(self, api: Api, client: httpx2.AsyncClient) -> None:
        self.api = api
        self.client = client
        self.get = client.get
        self.post = client.post
        self.patch = client.patch
        self.delete = client.delete

    async def execute(self, workflow_id: str = "my-workflow", **request: Any) -> httpx2.Response:
        """Execute a workflow by the guide's address; `query`: what follows the question mark."""
        query = request.pop("query", "async_execute=true")
        request.setdefault("json", {"variables": {"param1": "value1"}})
        return await self.post(f"/api/workflows/{workflow_id}/execute?{query}", **request)


def check(response: httpx2.Response, slug: str) -> None:
    """A whole and proper problem document of this type."""
    kind = problems.ALL[slug]
    assert response.status_code == kind.status
    assert response.headers["content-type"] == MEDIA_TYPE
    body = response.json()
    assert list(body)[: len(MEMBERS)] == MEMBERS
    assert body["type"] == kind.uri
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]


@asynccontextmanager
async def running(
    settings: ApiSettings, *own_types: TaskType[Any, Any], headers: dict[str, str] | None = None
) -> AsyncIterator[ApiUnderTest]:
    """Run an API; `own_types` are task types that it has handlers for beside the built-in ones."""
    api = new_api(settings, own_types)
    app = new_app(api)
    transport = httpx2.ASGITransport(app=edge(api, app))
    client = httpx2.AsyncClient(
        transport=transport, base_url="http://localhost", headers=headers, timeout=20
    )
    async with app.router.lifespan_context(app), client:
        yield ApiUnderTest(api, client)

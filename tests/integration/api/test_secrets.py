"""A workflow's secret stands in no reply, no log line and nowhere in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.settings import WorkflowSettings
from tests.unit.api.harness import api_settings, running, write_workflows
from tests.unit.workflows.web import Answer, Seen, Web

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.servers import RedisServer

SECRET = "correct-horse-7"
CALLING = """
document: {{dsl: '1.0.3', namespace: tests, name: calling, version: '1.0.0'}}
use: {{ secrets: [key] }}
do:
  - call:
      call: http
      with:
        method: get
        endpoint: ${{ "{url}/" + .path + "/" + $secrets.key }}
        headers: {{ X-Key: "${{ $secrets.key }}" }}
"""


def echo(seen: Seen) -> Answer:
    return Answer(200, repr((seen.path, seen.headers)).encode(), "text/plain")


async def test_it_stands_in_no_reply_no_log_line_and_nowhere_in_redis(
    server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_KEY", SECRET)
    web = Web()
    await web.start()
    web.routes[f"/good/{SECRET}"] = echo
    folder = write_workflows(tmp_path / "workflows")
    (folder / "calling.yaml").write_text(CALLING.format(url=web.url))
    settings = api_settings(tmp_path, server.url).model_copy(
        update={"workflows": WorkflowSettings(dir=folder, http_allow=("127.0.0.1",))}
    )
    async with running(settings) as api:
        shown = []
        for path, status in (("good", "completed"), ("bad", "failed")):
            body = {"variables": {"path": path}}
            reply = await api.execute("calling", json=body, query="async_execute=false")
            assert (reply.json()["status"], reply.json()["stored"]) == (status, True)
            task_id = reply.json()["task_id"]
            record = await api.get(f"/api/tasks/{task_id}")
            assert "[redacted]" in reply.text
            assert "[redacted]" in record.text
            shown += [reply.text, record.text]
    await web.close()
    assert [seen.headers["x-key"] for seen in web.seen] == [SECRET, SECRET]
    assert SECRET not in "".join(shown)
    assert SECRET not in "".join(capfd.readouterr())
    server.client.config_set("rdbcompression", "no")  # so that a dump holds texts as they are
    stored = [server.client.dump(key) or b"" for key in server.client.keys("*")]
    server.client.config_set("rdbcompression", "yes")
    assert any(b"[redacted]" in value for value in stored)
    assert all(SECRET.encode() not in value for value in stored)

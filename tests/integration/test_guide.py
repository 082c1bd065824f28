"""Every curl command of the guide, run as it is written, answers as the guide shows.

Only `{workflow_id}` and `{task_id}` are replaced. The commands go to `localhost:8000`; a curlrc
leads that address to the port that the API under test has, so that nothing else on this machine
is in the way. The guide's example replies are compared by HTTP status, fields, their order, and
the JSON types of their values; more fields may follow.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.integration.api.processes import ROOT, ApiProcess, environment
from tests.servers import absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

GUIDE = Path(os.environ.get("GUIDE", ROOT.parent / "shared" / "seed" / "message-queue-guide.zh.md"))
WORKFLOW_ID = "my_workflow"
FOUR = ["task_id", "status", "message", "workflow_id"]

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A curl command of the guide and the reply that it shows, if it shows one."""

    command: str
    reply: dict[str, Any] | None


def examples(text: str) -> list[Example]:
    """All curl commands, in the guide's order, each with the reply that follows it."""
    blocks = _FENCE.findall(text)
    found = []
    for (language, body), (next_language, next_body) in zip(
        blocks, [*blocks[1:], ("", "")], strict=True
    ):
        if language == "bash" and "curl " in body:
            reply = json.loads(next_body) if next_language == "json" else None
            found.append(Example(body, reply))
    return found


@pytest.fixture(scope="module")
def guide() -> str:
    if not GUIDE.is_file():
        absent(f"the guide is not at {GUIDE}: set GUIDE to its path")
    return GUIDE.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Answer:
    """What curl brought."""

    status: int
    body: dict[str, Any]


class Installation:
    """The guide's API and worker, and its reader's shell."""

    def __init__(self, api: ApiProcess, curl_home: Path) -> None:
        self._url = api.url
        self._curl_home = curl_home
        (curl_home / ".curlrc").write_text(
            f"connect-to = localhost:8000:127.0.0.1:{api.port}\n"
            'silent\nshow-error\nmax-time = 20\nwrite-out = "\\n%{http_code}"\n'
        )

    def run(self, command: str, task_id: str = "") -> Answer:
        """Run a command of the guide in bash."""
        command = command.replace("{workflow_id}", WORKFLOW_ID).replace("{task_id}", task_id)
        shell = environment(CURL_HOME=str(self._curl_home), no_proxy="*")
        done = subprocess.run(
            ["bash", "-ec", command], env=shell, capture_output=True, text=True, check=True
        )
        body, _, status = done.stdout.rpartition("\n")
        return Answer(int(status), json.loads(body))

    def execute(self, **body: Any) -> str:
        """A further task, to cancel; returns its id."""
        url = f"{self._url}/api/workflows/{WORKFLOW_ID}/execute"
        task_id: str = httpx2.post(url, json=body).json()["task_id"]
        return task_id

    def wait_for(self, task_id: str) -> None:
        """Until a task has ended."""
        deadline = time.monotonic() + 20
        while True:
            status = httpx2.get(f"{self._url}/api/tasks/{task_id}").json()["status"]
            if status in ("completed", "failed", "cancelled"):
                return
            assert time.monotonic() < deadline, f"task {task_id} is still {status}"
            time.sleep(0.05)


def settings_of(guide: str) -> dict[str, str]:
    """What the guide has its reader write into `.env`."""
    [text] = [body for language, body in _FENCE.findall(guide) if language == "env"]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def installation(guide: str, server: RedisServer, tmp_path: Path) -> Iterator[Installation]:
    """`python run.py` and `python run_worker.py` with the guide's settings, on a real Redis."""
    if shutil.which("curl") is None:
        absent("curl is not on PATH")
    settings = {**settings_of(guide), "REDIS_URL": server.url}
    assert "python run.py\n" in guide
    assert "python run_worker.py\n" in guide
    with (
        ApiProcess(tmp_path / "api.log", settings) as api,
        (tmp_path / "worker.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "run_worker.py"],
            cwd=ROOT,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as worker,
    ):
        yield Installation(api, tmp_path)
        worker.terminate()
        assert worker.wait(20) == 0


def assert_like(shown: Any, found: Any, place: str = "the reply") -> None:
    """The same JSON types, the shown fields first and in their order."""
    kinds = (bool, int, float, str, list, dict, type(None))
    shown_kind, found_kind = (next(k for k in kinds if isinstance(v, k)) for v in (shown, found))
    assert shown_kind is found_kind, f"{place} is {found!r}, the guide shows {shown!r}"
    if isinstance(shown, dict):
        assert list(found)[: len(shown)] == list(shown), place
        for name, value in shown.items():
            assert_like(value, found[name], f"{place}.{name}")


def test_every_curl_of_the_guide_answers_as_it_shows(
    guide: str, installation: Installation
) -> None:
    execute, execute_inside, get, cancel, stats = examples(guide)

    queued = installation.run(execute.command)
    assert queued.status == 202
    assert list(queued.body)[:4] == FOUR  # `live_workers` follows
    assert_like(execute.reply, queued.body)
    assert execute.reply is not None
    for name in ("status", "message", "workflow_id"):
        assert queued.body[name] == execute.reply[name]
    task_id = queued.body["task_id"]

    inside = installation.run(execute_inside.command)
    assert inside.status == 200
    assert list(inside.body)[:4] == FOUR
    assert (inside.body["status"], inside.body["execution"]) == ("completed", "inline")

    installation.wait_for(task_id)
    record = installation.run(get.command, task_id)
    assert record.status == 200
    assert_like(get.reply, record.body)
    assert get.reply is not None
    for name in ("type", "status", "error", "retry_count", "max_retries"):
        assert record.body[name] == get.reply[name]
    assert record.body["result"]["workflow_id"] == get.reply["result"]["workflow_id"]
    for name in ("created_at", "started_at", "completed_at"):
        # The guide's form, and the `Z` of UTC behind it: the one stated deviation.
        assert re.match(_TIME, get.reply[name])
        assert re.fullmatch(_TIME + r"(\.\d+)?Z", record.body[name])

    assert "`pending` 或 `queued`" in guide
    pending = installation.execute(start_at="2099-01-01T00:00:00Z")
    cancelled = installation.run(cancel.command, pending)
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    too_late = installation.run(cancel.command, task_id)
    assert (too_late.status, too_late.body["task_status"]) == (409, "completed")

    numbers = installation.run(stats.command)
    assert numbers.status == 200
    assert_like(stats.reply, numbers.body)

"""`headrace submit`, `execute`, `wait`, `ls`, `show` and `why`, and their exit statuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests.integration.cli.conftest import Headrace, record
from tests.integration.client.conftest import System


def test_a_workflow_is_executed_and_its_record_is_shown(headrace: Headrace) -> None:
    shown = headrace("execute", "hello", "--var", "name=世界", "--wait").stdout
    assert '"greeting": "Hello, 世界!"' in shown
    assert "completed" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("way", ["argument", "file", "stdin"])
def test_a_payload_comes_from_the_argument_a_file_or_stdin(
    headrace: Headrace, tmp_path: Path, way: str
) -> None:
    payload = '{"workflow_id": "hello", "variables": {"name": "Ada"}}'
    (tmp_path / "payload.json").write_text(payload)
    text = {"argument": payload, "file": f"@{tmp_path}/payload.json", "stdin": "-"}[way]
    task = record(
        headrace("submit", "workflow_execute", text, "--wait", "-o", "json", input=payload)
    )
    assert task["result"]["variables"]["greeting"] == "Hello, Ada!"


def test_a_submit_has_the_options_that_were_given(headrace: Headrace) -> None:
    given = ("--tag", "night", "--tag", "eu", "--header", "tenant=blue", "--max-retries", "7")
    arguments = ("submit", "act", "[]", "--key", "k1", "--start-in", "2h", *given)
    task = record(headrace(*arguments, "-o", "json"))
    assert task["status"] == "pending"
    assert (task["tags"], task["headers"], task["max_retries"]) == (
        ["night", "eu"],
        {"tenant": "blue"},
        7,
    )
    due = datetime.fromisoformat(task["due_at"]) - datetime.now(UTC)
    assert timedelta(minutes=119) < due <= timedelta(hours=2)
    assert record(headrace(*arguments, "-o", "json"))["task_id"] == task["task_id"]


def test_a_failed_task_ends_the_command_with_7_and_the_error(headrace: Headrace) -> None:
    result = headrace("execute", "prices", "--wait", "--max-retries", "0", status=7)
    assert "failed" in result.stdout
    assert result.stderr.startswith("error: task ")
    assert "headrace show " in result.stderr


def test_a_cancelled_task_ends_the_wait_with_8(headrace: Headrace, system: System) -> None:
    task_id = headrace("execute", "hello", "--start-in", "1h", "-o", "id").stdout.strip()
    httpx2.post(f"{system.api.url}/api/tasks/{task_id}/cancel")
    assert "was cancelled" in headrace("wait", task_id, status=8).stderr
    assert "was cancelled" in headrace("wait", task_id, done(headrace), status=8).stderr


def test_a_wait_that_runs_out_ends_with_9_and_cancels_nothing(headrace: Headrace) -> None:
    task_id = headrace("execute", "hello", "--start-in", "1h", "-o", "id").stdout.strip()
    assert "wait again" in headrace("wait", task_id, "--timeout", "0.2s", status=9).stderr
    assert record(headrace("show", task_id, "-o", "json"))["status"] == "pending"


def test_many_are_waited_for_together_and_shown_in_order(headrace: Headrace) -> None:
    ids = [done(headrace) for _ in range(3)]
    assert headrace("wait", *ids, "-o", "id").stdout.split() == ids
    assert [task["task_id"] for task in record(headrace("wait", *ids, "-o", "json"))] == ids


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("ls", "--tag", "golden"), "/api/tasks?tag=golden&limit=50"),
        (("show", "ID"), "/api/tasks/ID?include=attempts"),
        (("why", "ID"), "/api/tasks/ID/why"),
    ],
)
def test_the_json_is_that_of_the_api(
    headrace: Headrace, system: System, arguments: tuple[str, ...], path: str
) -> None:
    submit = ("execute", "hello", "--start-in", "1h", "--tag", "golden", "-o", "id")
    task_id = headrace(*submit).stdout.strip()
    given = (it.replace("ID", task_id) for it in arguments)
    sent = httpx2.get(system.api.url + path.replace("ID", task_id)).json()
    shown = record(headrace(*given, "-o", "json"))
    for reply in (sent, shown):
        for task in reply.get("items", [reply]):
            task.pop("live_workers")
    assert times_read(shown) == times_read(sent)


def test_a_list_is_filtered_and_goes_on_page_by_page(headrace: Headrace) -> None:
    ids = {done(headrace, "--tag", "paged") for _ in range(3)}
    only = ("ls", "--tag", "paged", "--status", "completed", "--ended-after", "1h")
    assert set(headrace(*only, "--limit", "2", "--all", "-o", "id").stdout.split()) == ids
    page = record(headrace(*only, "--limit", "2", "-o", "json"))
    rest = headrace(*only, "--cursor", page["next_cursor"], "-o", "jsonl").stdout.splitlines()
    assert {json.loads(line)["task_id"] for line in rest} | {
        task["task_id"] for task in page["items"]
    } == ids
    table = headrace(*only, "--limit", "2")
    assert table.stdout.startswith("TASK ")
    assert "--cursor" in table.stderr
    assert headrace("ls", "--tag", "paged", "--ended-before", "1h", "-o", "id").stdout == ""


def test_why_says_what_a_task_waits_for(headrace: Headrace) -> None:
    task_id = headrace("execute", "hello", "--start-in", "1h", "-o", "id").stdout.strip()
    assert "Its start time has not come" in headrace("why", task_id).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("show", "nothing"), 3, "no task nothing"),
        (("execute", "nothing"), 3, "nothing"),
        (("submit", "nothing"), 3, "no worker has ever published"),
        (("submit", "workflow_execute", "{"), 2, "the payload is no JSON"),
        (("submit", "workflow_execute", "@/nowhere"), 2, "/nowhere cannot be read"),
        (("submit", "workflow_execute", '{"workflow_id": 1}'), 2, "does not fit"),
        (("ls", "--ended-after", "2026-01-01T00:00:00"), 2, "no time zone"),
        (("ls", "--created-after", "soon"), 2, "no time"),
        (("ls", "--cursor", "nonsense"), 2, "cursor"),
        (("execute", "hello", "--start-in", "1 week"), 2, "no duration"),
        (("execute", "hello", "--var", "name"), 2, "has no NAME="),
    ],
)
def test_an_error_is_a_sentence_on_stderr_and_a_status(
    headrace: Headrace, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    result = headrace(*arguments, status=status)
    assert sentence in result.stderr
    assert result.stdout == ""


def test_an_api_that_is_away_ends_a_command_with_6(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.cli.session.RETRY_SECONDS", 0.1)
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:9")
    assert "cannot be reached" in headrace("ls", status=6).stderr


def done(headrace: Headrace, *options: str) -> str:
    """The id of a task that has completed."""
    return headrace("execute", "hello", "--wait", "-o", "id", *options).stdout.strip()


def times_read(value: object) -> object:
    """JSON with its times as times: 10:00:00Z is 10:00:00.000000Z."""
    if isinstance(value, dict):
        return {name: times_read(it) for name, it in value.items()}
    if isinstance(value, list):
        return [times_read(it) for it in value]
    try:
        return datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value

"""What the command does with tasks, many tasks and workers; each example of its help is run."""

from __future__ import annotations

import json
import re
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer.main

from headrace.cli import actions, app
from tests.integration.cli.conftest import Headrace, record
from tests.integration.client.conftest import System

PROCESSES = ("api", "worker", "dev")
"""Their own tests run them."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
            if not command.invoke_without_command:
                continue
        yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_each_help_runs(
    headrace: Headrace, name: str, monkeypatch: pytest.MonkeyPatch, interrupted: None
) -> None:
    epilog = COMMANDS[name].epilog or ""
    found = re.fullmatch(r"\x08\nExample:\n  ((?:[A-Z_]+=\S+ )?headrace .+)", epilog)
    assert found, f"headrace {name} --help shows no example"
    example = found[1].partition("headrace ")[2]
    assert example.startswith(name)
    if name in PROCESSES:
        headrace(*shlex.split(example), "--help")
        return
    inner = re.search(r"\$\(headrace (.+?)\)", example)
    if inner:
        example = example.replace(inner[0], headrace(*shlex.split(inner[1])).stdout.strip())
    absent = "550e8400" in example or "worker-1" in example or example.endswith("rm staging")
    result = headrace(*shlex.split(example), status=3 if absent else 0)
    assert result.stdout or absent or name in ("ls", "dead", "config set", "config show")


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes when `stats --watch` sleeps for the second time."""
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if seconds == 1.0 and sleeps.count(1.0) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("headrace.cli.queues.sleep", sleep)


def test_a_watch_shows_the_stats_again_and_again(headrace: Headrace, interrupted: None) -> None:
    lines = headrace("stats", "--watch", "-o", "jsonl").stdout.splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [sorted(json.loads(lines[0]))] * 2
    assert "workflow_execute" in headrace("stats").stdout


def test_one_task_is_cancelled_retried_run_and_removed(headrace: Headrace) -> None:
    task_id = later(headrace)
    assert record(headrace("cancel", task_id, "-o", "json"))["status"] == "cancelled"
    assert record(headrace("retry", task_id, "-o", "json"))["task_id"] == task_id
    headrace("wait", task_id)
    assert headrace("rm", task_id, "-o", "id").stdout.strip() == task_id
    headrace("show", task_id, status=3)
    task_id = later(headrace)
    headrace("run-now", task_id)
    headrace("wait", task_id, "--timeout", "20s")


def test_what_a_state_forbids_ends_with_5_and_stops_no_other(headrace: Headrace) -> None:
    ended = headrace("execute", "hello", "--wait", "-o", "id").stdout.strip()
    waiting = later(headrace)
    result = headrace("cancel", ended, waiting, "-o", "json", status=5)
    assert "error: " in result.stderr
    assert record(result)["task_id"] == waiting
    headrace("cancel", "nothing", ended, status=3)


def test_a_running_task_is_stopped_if_that_is_asked_for(headrace: Headrace) -> None:
    task_id = headrace("submit", "nap", "30", "-o", "id").stdout.strip()
    while record(headrace("show", task_id, "-o", "json"))["status"] != "running":
        time.sleep(0.02)
    assert "add --running" in headrace("cancel", task_id, status=5).stderr
    headrace("cancel", task_id, "--running")
    headrace("wait", task_id, status=8)


def test_many_are_counted_before_anything_is_done(headrace: Headrace) -> None:
    ids = {later(headrace, "--tag", "dry") for _ in range(4)}
    chosen = ("--where", "tag=dry", "--where", "status=pending")
    dry = record(headrace("cancel", *chosen, "--dry-run", "-o", "json"))
    assert (dry["count"], dry["complete"], len(dry["samples"])) == (4, True, 3)
    assert "4 tasks would be cancelled" in headrace("cancel", *chosen, "--dry-run").stdout
    assert (
        set(headrace("ls", "--tag", "dry", "--status", "pending", "-o", "id").stdout.split()) == ids
    )


@pytest.mark.parametrize("output", ["table", "json"])
def test_without_a_terminal_many_need_yes(headrace: Headrace, output: str) -> None:
    later(headrace, "--tag", "many")
    chosen = ("cancel", "--where", "tag=many", "--where", "status=pending", "-o", output)
    refused = headrace(*chosen, status=2)
    assert "add --yes" in refused.stderr
    assert refused.stdout == ""


def test_many_are_cancelled_and_the_operation_is_followed(
    headrace: Headrace, system: System
) -> None:
    ids = {later(headrace, "--tag", "bulk") for _ in range(3)}
    chosen = ("--where", "tag=bulk", "--where", "status=pending")
    bulk_id = headrace("cancel", *chosen, "--yes", "--name", "night", "-o", "id").stdout.strip()
    until(lambda: record(headrace("bulk", "show", bulk_id, "-o", "json"))["status"] == "completed")
    shown = record(headrace("bulk", "show", bulk_id, "-o", "json"))
    assert shown == httpx2.get(f"{system.api.url}/api/bulk/{bulk_id}").json() | {
        name: shown[name] for name in ("created_at", "ended_at")
    }
    assert (shown["done"], shown["name"]) == (3, "night")
    assert bulk_id in headrace("bulk", "ls", "-o", "id").stdout.split()
    assert "3 of 3 done" in headrace("bulk", "show", bulk_id).stdout
    cancelled = headrace("ls", "--tag", "bulk", "--status", "cancelled", "-o", "id").stdout
    assert set(cancelled.split()) == ids


def test_on_a_terminal_it_asks_and_a_no_does_nothing(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "_is_terminal", lambda: True)
    later(headrace, "--tag", "asked")
    chosen = ("cancel", "--where", "tag=asked", "--where", "status=pending")
    refused = headrace(*chosen, input="n\n", status=1)
    assert "1 task would be cancelled" in refused.stdout
    assert "nothing was done" in refused.stderr
    assert "cancel" in headrace(*chosen, input="y\n").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("retry",), "say which tasks"),
        (("retry", "x", "--where", "type=nap"), "say which tasks"),
        (("retry", "x", "--dry-run"), "--dry-run goes with --where"),
        (("retry", "--where", "state=failed"), "state is no filter"),
        (("retry", "--where", "failed"), "has no NAME="),
        (("retry", "--where", "type=a", "--where", "type=b"), "there twice"),
        (("cancel", "--where", "type=nap", "--running"), "--running goes with ids"),
        (("retry", "--where", "status=running", "--yes"), "status"),
    ],
)
def test_an_action_without_a_clear_choice_is_refused(
    headrace: Headrace, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in headrace(*arguments, status=2).stderr


def test_a_worker_is_drained_and_works_again(headrace: Headrace) -> None:
    [worker_id] = headrace("workers", "-o", "id").stdout.split()
    assert record(headrace("workers", "drain", worker_id, "-o", "json"))["draining"] is True
    assert "drained" in headrace("workers").stdout
    headrace("workers", "undrain", worker_id)
    assert "works" in headrace("workers").stdout


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("workers",), "/api/workers"),
        (("stats",), "/api/workflows/queue/stats"),
        (("queues",), "/api/workflows/queue/stats"),
        (("workflow", "ls"), "/api/workflows"),
        (("workflow", "show", "hello"), "/api/workflows/hello"),
        (("bulk", "ls"), "/api/bulk"),
    ],
)
def test_the_json_of_lists_has_the_fields_of_the_api(
    headrace: Headrace, system: System, arguments: tuple[str, ...], path: str
) -> None:
    shown = record(headrace(*arguments, "-o", "json"))
    assert shape(shown) == shape(httpx2.get(system.api.url + path).json())
    assert headrace(*arguments).stdout


def test_a_profile_is_stored_for_its_owner_alone_and_its_key_is_not_shown(
    headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: System
) -> None:
    monkeypatch.delenv("HEADRACE_URL")
    (tmp_path / "key").write_text("hr_secret\n")
    headrace("config", "set", "--url", system.api.url, "--api-key-file", str(tmp_path / "key"))
    headrace("config", "set", "away", "--url", "http://127.0.0.1:9")
    file = tmp_path / "headrace" / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "hr_secret" in file.read_text()
    assert "hr_secret" not in headrace("config", "show").stdout
    profiles = record(headrace("config", "show", "-o", "json"))["profiles"]
    assert profiles[0] == {"profile": "default", "url": system.api.url, "api_key": "stored"}
    headrace("ls")
    monkeypatch.setattr("headrace.cli.session.RETRY_SECONDS", 0.1)
    headrace("ls", "--profile", "away", status=6)
    headrace("ls", "--profile", "nobody", status=2)
    headrace("config", "set", "--url", "http://127.0.0.1:8")  # a key stays with its own address
    assert "hr_secret" not in file.read_text()
    headrace("config", "rm", "away")
    assert headrace("config", "show", "-o", "id").stdout.split() == ["default"]
    file.chmod(0o644)
    assert "chmod 600" in headrace("ls", status=2).stderr


def later(headrace: Headrace, *options: str) -> str:
    """The id of a task that waits for its time."""
    return headrace("execute", "hello", "--start-in", "1h", "-o", "id", *options).stdout.strip()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shape(value: Any) -> Any:
    """The fields of JSON, in their order, without values."""
    if isinstance(value, dict):
        return [(name, shape(it)) for name, it in value.items()]
    if isinstance(value, list):
        return [shape(it) for it in value[:1]]
    return None

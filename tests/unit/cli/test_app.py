"""The `headrace` command."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from headrace.cli import app
from headrace.cli.app import RoleName, new_key
from headrace.settings import Role
from headrace.settings.keys import parse_api_keys
from headrace_api.http.auth import PERMISSIONS, Permission

runner = CliRunner()


def test_a_new_key_matches_the_entry_that_is_printed_with_it() -> None:
    result = runner.invoke(app, ["keys", "new", "--role", "submit", "--name", "ci"])
    assert result.exit_code == 0, result.output
    key, entry = (line.split()[-1] for line in result.output.splitlines())
    [parsed] = parse_api_keys([("entry 1", entry)])
    assert parsed.digest == hashlib.sha256(key.encode()).digest()
    assert (parsed.role, parsed.name) == ("submit", "ci")


def test_two_keys_differ() -> None:
    first = runner.invoke(app, ["keys", "new", "--role", "read"])
    second = runner.invoke(app, ["keys", "new", "--role", "read"])
    assert first.output != second.output


def test_a_name_that_would_break_the_entry_is_refused() -> None:
    result = runner.invoke(app, ["keys", "new", "--role", "read", "--name", "a:b,c"])
    assert result.exit_code == 2


def test_an_unknown_role_is_refused_with_the_known_ones() -> None:
    result = runner.invoke(app, ["keys", "new", "--role", "root"])
    assert result.exit_code == 2
    assert "operator" in result.output


def test_the_help_says_of_each_role_what_it_may_do() -> None:
    """As headrace_api/http/auth.py has it: operator includes neither read nor submit."""
    [option] = get_type_hints(new_key, include_extras=True)["role"].__metadata__
    sentences = dict(
        re.findall(r"(read|submit|manager|events|operator|admin): ([^.]+)", option.help)
    )
    assert set(sentences) == set(Role)
    assert "includes those before" not in option.help
    assert "tasks, workflows, stats" in sentences["read"]
    assert sentences["submit"].startswith("the same, and execute")
    assert "no tasks and no workflows" in sentences["operator"]
    assert PERMISSIONS[Role.OPERATOR].isdisjoint({Permission.READ, Permission.SUBMIT})
    assert PERMISSIONS[Role.READ] < PERMISSIONS[Role.SUBMIT] < PERMISSIONS[Role.ADMIN]


def test_the_roles_are_those_of_the_settings() -> None:
    assert get_args(RoleName) == tuple(Role)


def test_good_definitions_pass(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DEFINITION)
    result = runner.invoke(app, ["workflow", "check", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "ok       greet 1.0.0" in result.output


def test_a_broken_definition_is_named_and_fails_the_check(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DEFINITION.replace("set:", "sett:"))
    result = runner.invoke(app, ["workflow", "check", str(tmp_path)])
    assert result.exit_code == 1
    assert "a.yaml" in result.output


def test_files_and_folders_are_checked_together_and_all_mistakes_are_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "good.yaml").write_text(DEFINITION)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(DEFINITION.replace("set:", "sett:") + "      thenn: end\ntimeuot: 1\n")
    paths = [str(tmp_path / "folder"), str(wrong)]
    result = runner.invoke(app, ["workflow", "check", *paths])
    assert result.exit_code == 1
    ok, *refused = result.output.splitlines()
    assert ok == "ok       greet 1.0.0"
    assert [line.split(": ")[0] for line in refused] == [
        f"refused  {wrong}:3:5",
        f"refused  {wrong}:7:1",
    ]
    result = runner.invoke(app, ["workflow", "check", "--format", "json", *paths])
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert report["workflows"] == [
        {"file": "good.yaml", "workflow_id": "greet", "version": "1.0.0"}
    ]
    assert [(fault["line"], fault["column"], fault["task"]) for fault in report["errors"]] == [
        (3, 5, "greet"),
        (7, 1, None),
    ]
    assert report["errors"][0]["file"] == str(wrong)
    assert "Did you mean 'set'?" in report["errors"][0]["reason"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("empty", "holds no definitions"), ("nowhere", "does not exist")],
)
def test_a_check_of_nothing_does_not_pass(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "empty").mkdir()
    result = runner.invoke(app, ["workflow", "check", str(tmp_path / name)])
    assert result.exit_code == 2
    assert sentence in result.output


@pytest.mark.parametrize("arguments", [[], ["keys"], ["workflow"]])
def test_without_a_command_the_help_is_shown(arguments: list[str]) -> None:
    assert "Usage" in runner.invoke(app, arguments).output


DEFINITION = """\
document: {dsl: 1.0.0, namespace: test, name: greet, version: 1.0.0}
do:
  - greet:
      set:
        greeting: hello
"""


def test_the_redis_users_are_printed_for_a_namespace() -> None:
    result = runner.invoke(app, ["redis-acl", "--namespace", "team-a"])
    assert result.exit_code == 0, result.output
    api, worker = (line.split() for line in result.output.splitlines())
    assert api[:3] == ["user", "headrace-api", "on"]
    assert worker[:3] == ["user", "headrace-worker", "on"]
    for rules in (api, worker):
        assert {"~{team-a}:*", "&{team-a}:*", "-@all", "+evalsha"} <= set(rules)
        assert "+waitaof" not in rules
    assert "+blpop" in worker
    assert "+blpop" not in api


def test_a_namespace_that_no_queue_has_is_refused() -> None:
    result = runner.invoke(app, ["redis-acl", "--namespace", "a b"])
    assert result.exit_code == 2
    assert "namespace" in result.output

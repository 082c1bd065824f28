"""`headrace doctor`: what it finds, and what a key's role lets it see."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.api.processes import ApiProcess
from tests.integration.cli.conftest import Headrace, record
from tests.integration.client.conftest import System

ROLES = ("read", "submit", "manager", "operator", "admin", "events")


def findings(headrace: Headrace, *arguments: str, status: int = 0) -> dict[str, tuple[str, str]]:
    checks = record(headrace("doctor", *arguments, "-o", "json", status=status))["checks"]
    return {it["check"]: (it["status"], it["text"]) for it in checks}


def test_a_sound_installation_passes(headrace: Headrace, system: System) -> None:
    found = findings(headrace, "--redis-url", system.redis.url)
    assert {name: status for name, (status, _) in found.items() if status != "ok"} == {
        "redis disk": "warn"  # the tests' servers write nothing to disk
    }
    assert found["key"][1].startswith("it may do everything")
    assert "redis server" in headrace("doctor", "-o", "id").stdout


def test_an_api_that_is_away_fails_with_the_fix(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.cli.session.RETRY_SECONDS", 0.1)
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:9")
    result = headrace("doctor", "--redis-url", "redis://127.0.0.1:9", status=1)
    assert "headrace api" in result.stdout
    assert result.stdout.count("fail") == 2


def test_a_policy_that_deletes_tasks_fails(headrace: Headrace, system: System) -> None:
    with redis.Redis.from_url(system.redis.url) as raw:
        raw.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = findings(headrace, "--redis-url", system.redis.url, status=1)
        finally:
            raw.config_set("maxmemory-policy", "noeviction")
    assert found["redis memory"][0] == "fail"


def test_a_record_in_no_index_is_found_and_repaired(headrace: Headrace, system: System) -> None:
    task_id = headrace("execute", "hello", "--start-in", "1h", "-o", "id").stdout.strip()
    with redis.Redis.from_url(system.redis.url) as raw:
        assert raw.zrem("{headrace}:delayed:workflow_execute", task_id) == 1
        found = findings(headrace, "--redis-url", system.redis.url, status=1)
        assert found["records"][0] == "fail"
        assert task_id in found["records"][1]
        found = findings(headrace, "--redis-url", system.redis.url, "--repair")
        assert found["records"] == ("ok", "1 of 1 repaired")
        assert raw.zscore("{headrace}:delayed:workflow_execute", task_id)
    assert findings(headrace, "--redis-url", system.redis.url)["records"][0] == "ok"


@pytest.fixture(scope="module")
def guarded(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """An API with a key for each role; the key is the role's name."""
    entries = (f"{role}:{hashlib.sha256(role.encode()).hexdigest()}" for role in ROLES)
    folder: Path = tmp_path_factory.mktemp("guarded")
    settings = {"REDIS_URL": system.redis.url, "API_KEYS": ",".join(entries)}
    with ApiProcess(folder / "api.log", settings) as api:
        yield api


@pytest.mark.parametrize("role", ROLES)
def test_the_keys_role_is_found_by_what_it_may_do(
    headrace: Headrace, guarded: ApiProcess, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_URL", guarded.url)
    monkeypatch.setenv("HEADRACE_API_KEY", role)
    status, text = findings(headrace, status=1 if role == "events" else 0)["key"]
    assert status == ("fail" if role == "events" else "ok")
    assert role in text


def test_a_key_that_is_missing_or_too_weak_ends_with_4(
    headrace: Headrace, guarded: ApiProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_URL", guarded.url)
    assert "HEADRACE_API_KEY" in headrace("ls", status=4).stderr
    monkeypatch.setenv("HEADRACE_API_KEY", "read")
    assert "--profile" in headrace("execute", "hello", status=4).stderr

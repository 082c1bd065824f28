"""The command against a real API, a worker and a Redis; in this process, so that it is quick."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headrace.cli import app
from tests.integration.client.conftest import System
from tests.integration.client.conftest import system as system

Headrace = Callable[..., Result]


@pytest.fixture
def headrace(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Headrace:
    """Runs `headrace` with arguments; `input` is its stdin. There are no profiles."""
    monkeypatch.setenv("HEADRACE_URL", system.api.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    runner = CliRunner()

    def run(*arguments: str, input: str | None = None, status: int | None = 0) -> Result:
        result = runner.invoke(app, list(arguments), input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert status in (None, result.exit_code), result.output
        return result

    return run


def record(result: Result) -> Any:
    """The JSON that a command has written."""
    return json.loads(result.stdout)

"""The page for those who come from other queues: its program is run, block by block."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from pathlib import Path
from typing import Any

import pytest

from headrace import TaskStatus
from tests.integration.api.processes import ApiProcess
from tests.integration.worker.conftest import Process, until
from tests.servers import RedisServer, default_kind
from tests.unit.test_documentation import blocks


def install(code: str, folder: Path) -> None:
    """Write a handler's module as an installed package that names it in an entry point."""
    (folder / "photos_of_the_page.py").write_text(code, encoding="utf-8")
    info = folder / "photos-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: photos\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headrace.handlers]\nphotos = photos_of_the_page\n")


def run_blocks(program: list[str], scope: dict[str, Any]) -> None:
    """Run one block after the other, as one program."""
    for code in program:
        exec(code, scope)


def check(scope: dict[str, Any], shown: str) -> None:
    """What the program has printed and done is what the page says."""
    client = scope["client"]
    deadline = time.monotonic() + 20
    while client.bulk.get(scope["bulk"].bulk_id).status != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "ValueError: no address of a picture: ftp://example.com/d.png" in shown
    assert "1 would be retried" in shown
    assert "Its start time has not come" in shown
    assert "Hello, Ada!" in shown
    assert len(scope["results"]) == 9
    assert scope["later"].wait(20).status is TaskStatus.COMPLETED
    assert scope["once"].id in {task.task_id for task in client.tasks.iter()}
    client.close()


async def test_the_program_of_the_page_for_newcomers_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, *program = blocks("docs/coming-from.md", "python")
    install(handler, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    scope: dict[str, Any] = dict(vars(importlib.import_module("photos_of_the_page")))
    with RedisServer(default_kind(), tmp_path) as redis:
        worker = Process(
            redis, tmp_path / "worker.log", QUEUES="", MAX_WORKERS="5", PYTHONPATH=str(tmp_path)
        )
        try:
            with ApiProcess(tmp_path / "api.log", {"REDIS_URL": redis.url}) as api:
                monkeypatch.setenv("HEADRACE_URL", api.url)
                await until(lambda: worker.lines("worker.started"))
                await asyncio.to_thread(run_blocks, program, scope)
                await asyncio.to_thread(check, scope, capsys.readouterr().out)
        finally:
            worker.kill()
    [run] = [value for name, value in scope.items() if name.startswith("test_")]
    assert inspect.iscoroutinefunction(run)
    await run()

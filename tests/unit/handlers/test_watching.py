"""An event loop that is blocked: who is named, and what is counted."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from headrace import logs
from headrace.handlers import Attempt, Context, LoopWatch
from tests.unit.handlers.attempts import Watched, typed, until

BLOCK_SECONDS = 2.0


@pytest.fixture
def log_path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    logs.configure("warning", "json", fd)
    yield path
    logs.configure("warning", "console")
    os.close(fd)


async def block(ctx: Context, payload: Any) -> None:
    """Block the event loop itself."""
    time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - what is tested


async def block_in_a_task(ctx: Context, payload: Any) -> None:
    """Block it in a task of the handler's own."""
    await asyncio.create_task(block(ctx, payload))


@pytest.mark.parametrize("function", [block, block_in_a_task])
async def test_a_blocked_loop_is_named_within_two_seconds_and_counted(
    function: Any, log_path: Path
) -> None:
    running: list[Attempt] = []
    watch = LoopWatch(lambda: running)
    watch.start()
    with ThreadPoolExecutor(1) as threads:
        attempt = Watched(typed(function), threads)
        running.append(attempt)
        began = time.time()
        attempt.start(asyncio.get_running_loop(), b"null")
        await until(lambda: attempt.gone)
    await until(lambda: watch.blocked_seconds().get("greet", 0) >= 1)
    await until(lambda: len(lines(log_path)) == 2)
    blocked, free = map(json.loads, lines(log_path))
    watch.end()
    watch.join(5)
    assert (blocked["event"], blocked["type"]) == ("loop.blocked", "greet")
    assert blocked["place"].endswith("in block")
    assert seconds_of(blocked) - began < 2.0
    assert (free["event"], free["type"]) == ("loop.free", "greet")
    assert free["seconds"] >= 1


async def test_a_loop_that_is_merely_busy_is_not_named(log_path: Path) -> None:
    watch = LoopWatch()
    watch.start()
    end = time.monotonic() + 2.2
    while time.monotonic() < end:
        time.sleep(0.05)  # noqa: ASYNC251 - what is tested
        await asyncio.sleep(0)
    watch.end()
    watch.join(5)
    assert watch.blocked_seconds() == {}
    assert lines(log_path) == []


def lines(path: Path) -> list[str]:
    """What was logged."""
    return path.read_text().splitlines()


def seconds_of(line: dict[str, Any]) -> float:
    """When a line was written, in seconds since 1970."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()

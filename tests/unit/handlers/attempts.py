"""Attempts whose callbacks are kept, and the task types and payloads that they are of."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel

from headrace.handlers import (
    Attempt,
    Resources,
    handler,
)
from tests.unit.handlers.recording_host import make_context


class Number(BaseModel):
    """A payload."""

    value: int


def typed(function: Any, **rules: Any) -> Any:
    return handler("greet", **rules)(function)


class Watched(Attempt):
    """An attempt that keeps its callbacks, in order."""

    def __init__(self, task_type: Any, pool: ThreadPoolExecutor) -> None:
        self.calls: list[str] = []
        super().__init__(
            task_type,
            make_context(),
            on_outcome=lambda _: self.calls.append("outcome"),
            on_gone=lambda _: self.calls.append("gone"),
            resources=Resources(threads=pool),
        )


async def start(task_type: Any, pool: ThreadPoolExecutor) -> Watched:
    """An attempt under way."""
    attempt = Watched(task_type, pool)
    attempt.start(asyncio.get_running_loop(), b"null")
    await asyncio.sleep(0)
    return attempt


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it asks for many things
            await asyncio.sleep(0.001)

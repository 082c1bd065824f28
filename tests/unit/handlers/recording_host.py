"""A host that takes note, in the place of a worker, and contexts that report to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from headrace.handlers import ChildEnd, Context, FurtherTask


class RecordingHost:
    """Takes note of everything that handlers ask for."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, str | None]] = []
        self.checkpoints: list[bytes] = []
        self.appended: list[bytes] = []
        self.submitted: list[FurtherTask] = []
        self.ends: dict[str, ChildEnd | None] = {}
        self.cancelled: list[str] = []
        self.values: dict[Any, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        with contextlib.suppress(RuntimeError):  # a test without an event loop
            self._loop = asyncio.get_running_loop()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        self.reports.append((percent, message))

    async def checkpoint(self, ctx: Context, state: bytes, entries: Sequence[bytes]) -> None:
        self.checkpoints.append(state)
        self.appended.extend(entries)

    async def append(self, ctx: Context, entries: Sequence[bytes]) -> None:
        self.appended.extend(entries)

    async def submit(self, ctx: Context, task: FurtherTask) -> None:
        self.submitted.append(task)

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        return self.ends[task_id]

    async def cancel_child(self, ctx: Context, task_id: str) -> None:
        self.cancelled.append(task_id)


def make_context(
    host: RecordingHost | None = None,
    *,
    state: bytes | None = None,
    can_park: bool = True,
    attempt: int = 1,
    journal: Sequence[bytes] = (),
    generation: int = 0,
) -> Context:
    return Context(
        "7c0d4a1e-0000-4000-8000-000000000001",
        "greet",
        host or RecordingHost(),
        attempt=attempt,
        state=state,
        can_park=can_park,
        journal=journal,
        generation=generation,
    )

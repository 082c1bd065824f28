"""Runs things beside the worker's loop. An error in one of them ends the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from headrace.handlers import own_task


class Background:
    """Tasks of the event loop that nobody awaits. `failed` is called when one of them fails."""

    def __init__(self, failed: Callable[[], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin it, and keep it from being collected."""
        task = own_task(asyncio.get_running_loop(), work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def raise_fault(self) -> None:
        """Raise what the first of them raised, if one did."""
        if self._fault is not None:
            raise self._fault

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._fault is None:
            self._fault = task.exception()
            self._failed()

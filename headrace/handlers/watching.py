"""Notices an event loop that a handler blocks, and says which task type and which line.

`time.sleep(20)` in an `async def`, or a long computation, stops every other task of the process. A
thread asks the event loop for a sign of life now and then; when none comes, it looks at the stack.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType

from headrace.handlers.leaving import place_of
from headrace.handlers.runner import Attempt
from headrace.logs import get_logger

ASK_SECONDS = 0.5
LIMIT_SECONDS = 1.0
"""So long the event loop may be silent. With `ASK_SECONDS`: named within 2 s."""
LATE_SECONDS = 0.5
"""A wait that took so much longer: this thread had no turn either, so the loop is not to blame."""

log = get_logger(__name__)


class LoopWatch(threading.Thread):
    """Warns while an event loop is blocked, and counts for how long. Make it in that loop.

    Args:
        running: the attempts whose code runs. From any thread.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        running: Callable[[], Iterable[Attempt]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="loop-watch", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._running = running
        self._clock = clock
        self._answered = threading.Event()
        self._ended = threading.Event()
        self._blocks: tuple[dict[str, float], str | None, float] = ({}, None, 0.0)
        """Seconds by type, of blocks that have ended; what blocks it now, and since when. Replaced
        as one: a reader in another thread must not see half of it."""

    def end(self) -> None:
        """Watch no longer. From any thread."""
        self._ended.set()
        self._answered.set()

    def blocked_seconds(self) -> dict[str, float]:
        """For how long each task type has blocked the loop, with what is under way."""
        seconds, names, since = self._blocks
        return seconds if names is None else _added(seconds, names, self._clock() - since)

    def run(self) -> None:
        """Ask until told to end, or until the loop is closed."""
        while not self._ended.wait(ASK_SECONDS):
            self._answered.clear()
            asked = self._clock()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return
            if not self._is_answered():
                self._tell(asked)

    def _is_answered(self) -> bool:
        while not self._ended.is_set():
            began = self._clock()
            if self._answered.wait(LIMIT_SECONDS):
                return True
            if self._clock() - began < LIMIT_SECONDS + LATE_SECONDS:
                return False
        return True

    def _tell(self, since: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        names, place = self._types(frame), place_of(frame)
        ended, _, _ = self._blocks
        self._blocks = (ended, names, since)
        log.warning(
            "loop.blocked",
            type=names,
            place=place,
            reason="this code blocks the event loop, and all else in this process waits: make the "
            "handler a plain `def`, or call what blocks by `await asyncio.to_thread(…)`",
        )
        self._answered.wait()
        seconds = self._clock() - since
        self._blocks = (_added(ended, names, seconds), None, 0.0)
        log.warning("loop.free", type=names, seconds=round(seconds, 1))

    def _types(self, frame: FrameType | None) -> str:
        """The task type whose handler is on the stack; else all that may be it, with commas.

        A task that a handler made has a stack of its own, which does not lead to the handler.
        """
        while frame is not None:
            if frame.f_code is Attempt._drive.__code__:
                return str(frame.f_locals["self"].task_type.name)
            frame = frame.f_back
        names = {
            attempt.task_type.name for attempt in self._running() if attempt.task_type.is_async
        }
        return ",".join(sorted(names)) or "unknown"


def _added(seconds: dict[str, float], names: str, more: float) -> dict[str, float]:
    return {**seconds, names: seconds.get(names, 0.0) + more}

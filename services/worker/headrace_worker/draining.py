"""Whether the worker is marked as draining, and since when it could have claimed."""

from __future__ import annotations

import asyncio
import time

from headrace.logs import get_logger

POLL_SECONDS = 1.0
"""How often a draining worker looks whether its mark still holds. It does not wait for wake-ups: it
would swallow those of others."""

log = get_logger("headrace_worker")


class DrainMark:
    """The mark as last heard of, from a claim or a renewal."""

    def __init__(self, worker: str) -> None:
        self.holds = False
        self.ended_at = time.monotonic()
        """Since when it does not hold."""
        self._worker = worker
        self._ended = asyncio.Event()

    def set(self, holds: bool) -> None:
        """Hear whether it holds."""
        if holds == self.holds:
            return
        self.holds = holds
        if holds:
            self._ended.clear()
            log.info("worker.draining", worker=self._worker)
        else:
            self.ended_at = time.monotonic()
            self._ended.set()
            log.info("worker.undrained", worker=self._worker)

    async def wait(self) -> None:
        """Wait until it ends or it is time to look again."""
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            return

    def interrupt(self) -> None:
        """End the waiting: the worker ends."""
        self._ended.set()

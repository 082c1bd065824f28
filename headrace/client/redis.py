"""Speaks to Redis directly: over a blocking socket, or on an event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from headrace.client.steps import Ends, QueueCall, Sleep
from headrace.taskqueue import FINAL, BlockingTaskQueue, EndWatch, TaskQueue, TaskStatus

FIRST_LOOK_SECONDS = 0.005
LOOK_SECONDS = 0.25
"""A blocking client looks so often whether a task has ended."""


class RedisTransport:
    """Performs steps over a blocking connection. Threads may share it, and forked processes."""

    def __init__(self, queue: BlockingTaskQueue) -> None:
        self._queue = queue

    def perform(self, step: QueueCall | Ends | Sleep) -> Any:
        """Perform a step. Raises QueueError."""
        if isinstance(step, QueueCall):
            return getattr(self._queue, step.name)(*step.args, **step.options)
        if isinstance(step, Ends):
            return self._ended(step)
        return time.sleep(step.seconds)

    def close(self) -> None:
        """Close the connection for good."""
        self._queue.close()

    def _ended(self, step: Ends) -> dict[str, TaskStatus | None]:
        ends_at = time.monotonic() + step.seconds
        delay = FIRST_LOOK_SECONDS
        while True:
            statuses = self._queue.statuses(step.task_ids)
            ended = {i: it for i, it in statuses.items() if it is None or it in FINAL}
            left = ends_at - time.monotonic()
            if ended or left <= 0:
                return ended
            time.sleep(min(delay, left))
            delay = min(delay * 1.5, LOOK_SECONDS)


class AsyncRedisTransport:
    """The same on an event loop. It hears of ends by a subscription, while somebody waits."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue
        self._watch: EndWatch = queue.end_watch()

    async def perform(self, step: QueueCall | Ends | Sleep) -> Any:
        """Perform a step. Raises QueueError."""
        if isinstance(step, QueueCall):
            return await getattr(self._queue, step.name)(*step.args, **step.options)
        if isinstance(step, Sleep):
            return await asyncio.sleep(step.seconds)
        with self._watch.waiting(step.task_ids) as waiter:
            try:
                async with asyncio.timeout(step.seconds):
                    return await waiter.next()
            except TimeoutError:
                return {}

    async def close(self) -> None:
        """Close the connections for good."""
        await self._watch.close()
        await self._queue.close()

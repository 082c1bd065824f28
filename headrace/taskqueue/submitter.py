"""Submits on an event loop: round trips shared by concurrent callers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from headrace.limits import ENOUGH_BYTES, MAX_BATCH
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.submits import Submits, Submitted
from headrace.taskqueue.task import NewTask


class Submitter:
    """Sends submits: one call is in flight, what arrives meanwhile leaves in the next.

    Args:
        submits: how they are written and read.
        link: the connection to use.
    """

    def __init__(self, submits: Submits, link: Link) -> None:
        self._submits = submits
        self._link = link
        self._sending = False
        self._waiting: deque[tuple[list[NewTask], asyncio.Future[list[Submitted]]]] = deque()
        self._flush_task: asyncio.Task[None] | None = None

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Add up to 1000 tasks, all or none of them. For the errors see TaskQueue.submit."""
        self._submits.check(tasks)
        batch = list(tasks)
        if self._sending:
            future: asyncio.Future[list[Submitted]] = asyncio.get_running_loop().create_future()
            self._waiting.append((batch, future))
            return await future
        self._sending = True
        try:
            [result] = await self._send([batch])
        finally:
            self._sending = False
            if self._waiting:
                self._sending = True
                self._flush_task = asyncio.get_running_loop().create_task(self._flush())
        if isinstance(result, Exception):
            raise result
        return result

    async def _flush(self) -> None:
        """Send what waits, until nothing does."""
        try:
            while self._waiting:
                taken = self._next_round()
                try:
                    results = await self._send([batch for batch, _ in taken])
                except Exception as error:  # each caller raises it
                    results = [error for _ in taken]
                for (_, future), result in zip(taken, results, strict=True):
                    if future.done():  # its caller has gone
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._sending = False

    def _next_round(self) -> list[tuple[list[NewTask], asyncio.Future[list[Submitted]]]]:
        """The batches that leave together: always one, and more while they are small enough."""
        taken, count, size = [], 0, 0
        while self._waiting and size < ENOUGH_BYTES:
            batch, _ = self._waiting[0]
            count += len(batch)
            if count > MAX_BATCH:
                break
            size += sum([len(task.payload) for task in batch])
            taken.append(self._waiting.popleft())
        return taken

    async def _send(self, batches: list[list[NewTask]]) -> list[list[Submitted] | Exception]:
        replies = await self._link.call_together(self._submits.commands(batches))
        return self._submits.results(batches, replies)

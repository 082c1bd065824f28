"""Requests that wait for tasks to end: by one subscription for all, only while somebody waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.taskqueue import TaskNotFound
from headrace_api.http.problems import RETRY_AFTER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from headrace.taskqueue import EndWatch, Task, TaskQueue, TaskStatus
    from headrace_api.http.held import Held

READ_AT_ONCE = 50
"""Records, with payloads and results that may be large."""

Ends = dict[str, "TaskStatus | None"]
"""How tasks ended, by id; None: it has no record."""


class Records:
    """Reads the records of all tasks that are asked for at the same moment by one call."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue
        self._ids: list[str] = []
        self._reading: asyncio.Future[dict[str, Task | None]]

    async def get(self, task_id: str) -> Task:
        """A task's record. Raises TaskNotFound, and as every call of the queue does."""
        if not self._ids:
            self._reading = asyncio.ensure_future(self._read())
        self._ids.append(task_id)
        task = (await asyncio.shield(self._reading))[task_id]
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def _read(self) -> dict[str, Task | None]:
        await asyncio.sleep(0)  # whoever is answered at this moment asks before it goes on
        ids, self._ids = self._ids, []
        found: dict[str, Task | None] = {}
        for start in range(0, len(ids), READ_AT_ONCE):
            chunk = ids[start : start + READ_AT_ONCE]
            found |= zip(chunk, await self._queue.get_many(chunk), strict=True)
        return found


class Waits:
    """Holds requests until their tasks have ended. `max_tasks`: of all requests together."""

    def __init__(
        self, queue: TaskQueue | None, watch: EndWatch | None, held: Held, max_tasks: int
    ) -> None:
        self.watch = watch
        """None: the queue is switched off."""
        self._records = None if queue is None else Records(queue)
        self.held = held
        self.max_tasks = max_tasks
        self._tasks = 0

    async def next_ends(
        self, request: Request, task_ids: Sequence[str], seconds: float, *, every: bool = True
    ) -> Ends:
        """Wait until all of these tasks have ended, or any; which had when that was over.

        Raises the 503 problem when too many requests wait already, or for too many tasks.
        """
        assert self.watch is not None, "without a queue there are no tasks"
        if self._tasks + len(task_ids) > self.max_tasks:
            raise self.held.too_many(f"{self._tasks} tasks are waited for (MAX_WAITED_TASKS)")
        found: Ends = {}
        self._tasks += len(task_ids)
        try:
            async with self.held.hold(request, seconds):
                with self.watch.waiting(task_ids) as waiter:
                    while waiter.task_ids and (every or not found):
                        found |= await waiter.next()
        finally:
            self._tasks -= len(task_ids)
        return found

    async def record(self, task_id: str) -> Task:
        """A task's record, read together with those of others that ended at the same moment."""
        assert self._records is not None, "without a queue there are no tasks"
        return await self._records.get(task_id)

    def answer_headers(self, seconds: int, *, final: bool) -> dict[str, str]:
        """The headers of the answer to a request that wanted to wait so long.

        A server that stops holds nothing back: its clients ask another one, in a moment.
        """
        if self.held.stopping and not final:
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return {"Preference-Applied": f"wait={seconds}"}

    async def close(self) -> None:
        """End the subscription."""
        if self.watch is not None:
            await self.watch.close()

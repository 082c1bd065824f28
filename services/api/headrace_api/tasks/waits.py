"""Requests that wait for tasks to end: by one subscription for all, only while somebody waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace_api.http.problems import RETRY_AFTER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from headrace.taskqueue import EndWatch, TaskStatus
    from headrace_api.http.held import Held

Ends = dict[str, "TaskStatus | None"]
"""How tasks ended, by id; None: it has no record."""


class Waits:
    """Holds requests until their tasks have ended. `max_tasks`: of all requests together."""

    def __init__(self, watch: EndWatch | None, held: Held, max_tasks: int) -> None:
        self.watch = watch
        """None: the queue is switched off."""
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

"""The parts of the client: `client.tasks`, `.queues`, `.workers`, `.workflows`, `.bulk` and so on.

Each is there twice, for `Client` and for `AsyncClient`, under the same names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Unpack

from headrace.client import asks
from headrace.client.asks import BulkAction, TaskFilters
from headrace.client.calls import Calls
from headrace.client.steps import AsyncRunner, Runner
from headrace.contract import (
    BulkDetail,
    BulkDryRun,
    BulkPage,
    BulkReply,
    DrainReply,
    HistoryReply,
    StatsReply,
    TaskCountsReply,
    TaskListReply,
    TaskSummary,
    TaskTypeReply,
    WorkerReply,
    WorkersReply,
    WorkflowDetail,
    WorkflowsReply,
)

MAX_PAGE = 200


class _Part:
    def __init__(self, run: Runner, calls: Calls) -> None:
        self._run = run
        self._calls = calls


class Tasks(_Part):
    """All tasks: the list, and how many there are."""

    def list(
        self, *, cursor: str | None = None, limit: int = 50, **filters: Unpack[TaskFilters]
    ) -> TaskListReply:
        """A page of the tasks that fit all filters (see TaskFilters); at most 200.

        The next page is asked for with its `next_cursor`.
        """
        return self._run(self._calls.list_tasks(filters, cursor, limit))

    def iter(self, **filters: Unpack[TaskFilters]) -> Iterator[TaskSummary]:
        """All tasks that fit, page by page. One that moves meanwhile may come twice or never."""
        cursor: str | None = None
        while True:
            page = self._run(self._calls.list_tasks(filters, cursor, MAX_PAGE))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def counts(self) -> TaskCountsReply:
        """How many tasks are in each status, by type."""
        return self._run(self._calls.ask(asks.counts()))


class Queues(_Part):
    """The queues' numbers."""

    def stats(self) -> StatsReply:
        """The queues and workers at this moment. Raises `errors.QueueUnavailable`, never zeros."""
        return self._run(self._calls.ask(asks.stats()))

    def history(self, task_type: str | None = None) -> HistoryReply:
        """Each of the last 60 minutes, the oldest first."""
        return self._run(self._calls.ask(asks.history(task_type)))


class Workers(_Part):
    """The live workers."""

    def list(self) -> Sequence[WorkerReply]:
        """All of them, and what each runs."""
        return self.page().workers

    def page(self) -> WorkersReply:
        """As `list`: the whole reply."""
        return self._run(self._calls.ask(asks.workers()))

    def drain(self, worker_id: str) -> DrainReply:
        """Mark a worker: it claims no more tasks. The mark ends after 60 s unless repeated."""
        return self._run(self._calls.ask(asks.mark_worker(worker_id, "drain")))

    def undrain(self, worker_id: str) -> DrainReply:
        """Take the mark away."""
        return self._run(self._calls.ask(asks.mark_worker(worker_id, "undrain")))


class Workflows(_Part):
    """The workflows that can be executed."""

    def list(self) -> WorkflowsReply:
        """All of them, and the files that could not be loaded."""
        return self._run(self._calls.ask(asks.workflows()))

    def get(self, workflow_id: str) -> WorkflowDetail:
        """One, with its definition. Raises `errors.WorkflowNotFound`."""
        return self._run(self._calls.ask(asks.workflow(workflow_id)))


class TaskTypes(_Part):
    """The task types that can be submitted."""

    def list(self) -> Sequence[TaskTypeReply]:
        """All that a worker has ever published, with the schemas of their payloads."""
        return self._run(self._calls.ask(asks.task_types())).task_types


class Bulk(_Part):
    """One action for many tasks. The API does it, in slices: it needs no worker."""

    def dry_run(self, action: BulkAction, **filters: Unpack[TaskFilters]) -> BulkDryRun:
        """Count the tasks that fit all filters, and show three. Nothing is done."""
        return self._run(self._calls.ask(asks.bulk_dry_run(action, filters)))

    def start(
        self, action: BulkAction, *, name: str = "", **filters: Unpack[TaskFilters]
    ) -> BulkReply:
        """Do it for all tasks that fit at this moment. It is safe to repeat."""
        return self._run(self._calls.ask(asks.bulk_start(action, filters, name)))

    def get(self, bulk_id: str) -> BulkDetail:
        """How far an operation is, and for which tasks it was refused."""
        return self._run(self._calls.ask(asks.bulk_get(bulk_id)))

    def list(self, *, limit: int = 50) -> Sequence[BulkReply]:
        """The operations, the newest first."""
        return self.page(limit=limit).bulk

    def page(self, *, limit: int = 50) -> BulkPage:
        """As `list`: the whole reply."""
        return self._run(self._calls.ask(asks.bulk_list(limit)))

    def stop(self, bulk_id: str) -> BulkReply:
        """Stop an operation. What it has done stays done."""
        return self._run(self._calls.ask(asks.bulk_mark(bulk_id, "stop")))

    def resume(self, bulk_id: str) -> BulkReply:
        """Let an operation go on where it was stopped."""
        return self._run(self._calls.ask(asks.bulk_mark(bulk_id, "resume")))


class _AsyncPart:
    def __init__(self, run: AsyncRunner, calls: Calls) -> None:
        self._run = run
        self._calls = calls


class AsyncTasks(_AsyncPart):
    """As `Tasks`."""

    async def list(
        self, *, cursor: str | None = None, limit: int = 50, **filters: Unpack[TaskFilters]
    ) -> TaskListReply:
        """As `Tasks.list`."""
        return await self._run(self._calls.list_tasks(filters, cursor, limit))

    async def iter(self, **filters: Unpack[TaskFilters]) -> AsyncIterator[TaskSummary]:
        """As `Tasks.iter`."""
        cursor: str | None = None
        while True:
            page = await self._run(self._calls.list_tasks(filters, cursor, MAX_PAGE))
            for task in page.items:
                yield task
            cursor = page.next_cursor
            if cursor is None:
                return

    async def counts(self) -> TaskCountsReply:
        """As `Tasks.counts`."""
        return await self._run(self._calls.ask(asks.counts()))


class AsyncQueues(_AsyncPart):
    """As `Queues`."""

    async def stats(self) -> StatsReply:
        """As `Queues.stats`."""
        return await self._run(self._calls.ask(asks.stats()))

    async def history(self, task_type: str | None = None) -> HistoryReply:
        """As `Queues.history`."""
        return await self._run(self._calls.ask(asks.history(task_type)))


class AsyncWorkers(_AsyncPart):
    """As `Workers`."""

    async def list(self) -> Sequence[WorkerReply]:
        """As `Workers.list`."""
        return (await self.page()).workers

    async def page(self) -> WorkersReply:
        """As `Workers.page`."""
        return await self._run(self._calls.ask(asks.workers()))

    async def drain(self, worker_id: str) -> DrainReply:
        """As `Workers.drain`."""
        return await self._run(self._calls.ask(asks.mark_worker(worker_id, "drain")))

    async def undrain(self, worker_id: str) -> DrainReply:
        """As `Workers.undrain`."""
        return await self._run(self._calls.ask(asks.mark_worker(worker_id, "undrain")))


class AsyncWorkflows(_AsyncPart):
    """As `Workflows`."""

    async def list(self) -> WorkflowsReply:
        """As `Workflows.list`."""
        return await self._run(self._calls.ask(asks.workflows()))

    async def get(self, workflow_id: str) -> WorkflowDetail:
        """As `Workflows.get`."""
        return await self._run(self._calls.ask(asks.workflow(workflow_id)))


class AsyncTaskTypes(_AsyncPart):
    """As `TaskTypes`."""

    async def list(self) -> Sequence[TaskTypeReply]:
        """As `TaskTypes.list`."""
        return (await self._run(self._calls.ask(asks.task_types()))).task_types


class AsyncBulk(_AsyncPart):
    """As `Bulk`."""

    async def dry_run(self, action: BulkAction, **filters: Unpack[TaskFilters]) -> BulkDryRun:
        """As `Bulk.dry_run`."""
        return await self._run(self._calls.ask(asks.bulk_dry_run(action, filters)))

    async def start(
        self, action: BulkAction, *, name: str = "", **filters: Unpack[TaskFilters]
    ) -> BulkReply:
        """As `Bulk.start`."""
        return await self._run(self._calls.ask(asks.bulk_start(action, filters, name)))

    async def get(self, bulk_id: str) -> BulkDetail:
        """As `Bulk.get`."""
        return await self._run(self._calls.ask(asks.bulk_get(bulk_id)))

    async def list(self, *, limit: int = 50) -> Sequence[BulkReply]:
        """As `Bulk.list`."""
        return (await self.page(limit=limit)).bulk

    async def page(self, *, limit: int = 50) -> BulkPage:
        """As `Bulk.page`."""
        return await self._run(self._calls.ask(asks.bulk_list(limit)))

    async def stop(self, bulk_id: str) -> BulkReply:
        """As `Bulk.stop`."""
        return await self._run(self._calls.ask(asks.bulk_mark(bulk_id, "stop")))

    async def resume(self, bulk_id: str) -> BulkReply:
        """As `Bulk.resume`."""
        return await self._run(self._calls.ask(asks.bulk_mark(bulk_id, "resume")))

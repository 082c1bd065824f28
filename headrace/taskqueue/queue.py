"""The queue as its clients see it: submit, look up, cancel, retry, stats. Workers: consumer.py."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from headrace.limits import (
    MAX_BATCH,
    MAX_CRASHES,
    MAX_INBOX_ITEM_BYTES,
    MAX_INBOX_ITEMS,
    MAX_OPTIONS_BYTES,
)
from headrace.taskqueue.attempts import AttemptRecord, decode_attempts
from headrace.taskqueue.audit import Audit
from headrace.taskqueue.base import QueueBase, status_after_cancel
from headrace.taskqueue.bulks import Bulks
from headrace.taskqueue.checks import check_edit
from headrace.taskqueue.consumer import Consumer
from headrace.taskqueue.ends import EndWatch
from headrace.taskqueue.errors import TaskNotFound
from headrace.taskqueue.listing import (
    ALL_TASKS,
    MAX_TYPES,
    IdPage,
    Script,
    TaskCounts,
    TaskFilter,
    TaskPage,
    decode_counts,
    id_pages,
    task_pages,
)
from headrace.taskqueue.records import decode_task, decode_tasks, request_hash
from headrace.taskqueue.redis.connection import ReplyError
from headrace.taskqueue.scripts import script
from headrace.taskqueue.stats import (
    SOON_MS,
    MinuteRates,
    Stats,
    TypeInfo,
    WorkerInfo,
    decode_history,
    decode_stats,
    published,
)
from headrace.taskqueue.submits import Submitted
from headrace.taskqueue.submitter import Submitter
from headrace.taskqueue.task import NewTask, Options, Task, TaskStatus, milliseconds
from headrace.taskqueue.tending import LEASE_SECONDS as FENCED_SECONDS
from headrace.taskqueue.tending import FencedLease
from headrace.taskqueue.why import Why, explain

DRAIN_SECONDS = 60
"""A drain mark that is not renewed for so long ends by itself."""

HISTORY_MINUTES = 60


class TaskQueue(QueueBase):
    """A client of one installation of the queue: bytes in, bytes out.

    Payloads and results are JSON documents, as bytes. Nothing here knows a task type's model:
    `submit` checks what every task must have, and whether the payload fits is seen by the handler.
    Whoever writes to Redis is trusted; the HTTP API is for everybody else.

        queue = TaskQueue("redis://localhost:6379/0")
        submitted = await queue.submit(NewTask(type="resize", payload=b'{"id": 7}', id=new_id()))
        task = await queue.get(submitted.id)

    Its arguments, and what every call raises, stand at QueueBase.
    """

    def _open(self) -> None:
        self._link = self.installation.link()
        self._submitter = Submitter(self._submits, self._link)
        self.audit = Audit(self._run)
        self.bulks = Bulks(self.installation, self._link, self._run, self.find_ids, self.max_length)
        """One action for many tasks."""

    async def connect(self) -> None:
        """Connect, and check that the server can do what the settings ask of it.

        Calls connect by themselves; this is to fail early. Raises NotSent, ServerUnsuitable,
        LayoutTooNew.
        """
        await self.get_many([])
        if self._submits.question is not None:
            self._submits.check_server(await self._link.call(*self._submits.question))

    async def close(self) -> None:
        """Close the connection. Calls in flight fail with NoReply."""
        self._link.close()

    def consumer(self, info: WorkerInfo, types: Sequence[TypeInfo] = ()) -> Consumer:
        """The worker's side of the queue."""
        return Consumer(self.installation, self._submits.limits, info, types)

    def end_watch(self) -> EndWatch:
        """Tells those who wait that their tasks have ended. One is enough for an event loop."""
        return EndWatch(self.installation, self._link)

    def fenced_lease(self, name: str, lease_seconds: float = FENCED_SECONDS) -> FencedLease:
        """A lease on work that one process at a time does. Nothing is taken yet."""
        kept = self.installation.retention_seconds
        return FencedLease(self._run, name, kept, lease_seconds)

    # Submitting

    async def submit(self, task: NewTask) -> Submitted:
        """Add a task. The same id again makes no second task.

        Concurrent callers share round trips: one call is in flight, what arrives meanwhile leaves
        in the next.

        Raises TaskInvalid for a task that nobody could run, PayloadTooLarge, QueueFull,
        IdempotencyConflict, UpgradeInProgress, OutOfMemory, NotSent, NoReply.
        """
        return (await self.submit_many([task]))[0]

    async def submit_many(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Add up to 1000 tasks, all or none of them. Raises as `submit` does."""
        submitted = await self._submitter.submit(tasks)
        self.epoch = self._submits.epoch
        return submitted

    # Looking up

    async def get(self, task_id: str) -> Task:
        """A task's record. Raises TaskNotFound."""
        [task] = await self.get_many([task_id])
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def get_many(self, task_ids: Sequence[str]) -> list[Task | None]:
        """Records by id; None where there is none."""
        replies = await self._run("get", self.installation.retention_seconds, *task_ids)
        return decode_tasks(task_ids, replies)

    async def list_tasks(
        self, filter: TaskFilter = ALL_TASKS, *, cursor: str | None = None, limit: int = 50
    ) -> TaskPage:
        """A page of the tasks that a filter asks for, at most 200.

        The order: running tasks; waiting ones in the order of service; pending ones by their time;
        ended ones, the newest first. A task that moves meanwhile may appear twice or not at all.
        Without `filter.type` there may be at most 100 types.

        Raises FilterInvalid, TooManyTypes.
        """
        page: TaskPage = await self._answer(task_pages(filter, cursor, limit))
        return page

    async def find_ids(
        self, filter: TaskFilter = ALL_TASKS, *, cursor: str | None = None, limit: int = 500
    ) -> IdPage:
        """As `list_tasks`, the ids alone, at most 1000: for what is to be done with many."""
        page: IdPage = await self._answer(id_pages(filter, cursor, limit))
        return page

    async def count_tasks(self) -> dict[str, TaskCounts]:
        """How many tasks are in each state, by type: at the same cost at any depth."""
        after, counts = "", dict[str, TaskCounts]()
        while True:
            kept = self.installation.retention_seconds
            after, more = decode_counts(await self._run("counts", after, MAX_TYPES, kept))
            counts |= more
            if not after:
                return counts

    async def outline(self, task_id: str) -> Task:
        """A task's record without payload and result: cheap enough to ask for often.

        Raises TaskNotFound.
        """
        flat = await self._read("HGETALL", self._keys.task(task_id))
        task = decode_task(task_id, flat or [], outline=True)
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def attempts(self, task_id: str) -> list[AttemptRecord]:
        """What became of a task's attempts, the oldest first: the last 20 that have ended.

        Empty for a task that succeeded at its first attempt, has not ended one, or is not there.
        """
        entries = await self._read("LRANGE", self._keys.attempts(task_id), 0, -1)
        return decode_attempts(entries or [])

    async def state(self, task_id: str) -> bytes | None:
        """What a run's last park or checkpoint kept; None: nothing, or it has ended."""
        kept: bytes | None = await self._read("GET", self._keys.state(task_id))
        return kept

    async def dead_letters(self, task_type: str, offset: int = 0, limit: int = 50) -> list[Task]:
        """Failed tasks of a type whose records are kept, the latest first.

        Without their payloads, which may be large: `get` has them.
        """
        _, *found = await self._run("dead_letters", task_type, offset, min(limit, MAX_BATCH))
        tasks = [decode_task(i.decode(), flat) for i, flat in zip(*[iter(found)] * 2, strict=True)]
        return [task for task in tasks if task is not None]

    async def stats(self, known_types: Iterable[str] = ()) -> Stats:
        """Every queue and every live worker at one moment, at the same cost at any depth.

        Args:
            known_types: queues that stand in it even if nothing was ever submitted to them.
        """
        rules = self.installation
        stats = decode_stats(
            await self._run("stats", rules.lease_ms, SOON_MS, rules.retention_seconds, *known_types)
        )
        self.epoch = stats.epoch
        return stats

    async def history(self, task_type: str) -> list[MinuteRates]:
        """What happened in each of the last 60 minutes, the oldest first."""
        return decode_history(await self._run("history", task_type, HISTORY_MINUTES))

    async def types(self) -> dict[str, TypeInfo]:
        """The task types that workers published, by name. They stay when no worker is left."""
        flat = await self._read("HVALS", self._keys.types)
        types = [published(raw, TypeInfo) for raw in flat or []]
        return {info.name: info for info in types if info is not None}

    # Moving

    async def cancel(self, task_id: str, *, running: bool = False) -> TaskStatus:
        """Cancel a task that has not begun; with `running`, ask one that runs to stop.

        Returns CANCELLED, or RUNNING if it was asked to stop. Raises TaskNotFound, NotAllowed.
        """
        args = (task_id, int(running), self.installation.retention_seconds)
        return status_after_cancel(await self._run("cancel", *args, subject=task_id))

    async def retry(self, task_id: str) -> TaskStatus:
        """Queue a failed or cancelled task again, its retries counted from 0.

        Raises TaskNotFound, NotAllowed, QueueFull, UpgradeInProgress.
        """
        rules = self.installation
        args = (task_id, self.max_length, rules.retention_seconds, rules.lease_ms)
        status = await self._run("retry", *args, subject=task_id)
        return TaskStatus(status.decode())

    async def run_now(self, task_id: str) -> TaskStatus:
        """Queue a pending task before its time. Raises TaskNotFound, NotAllowed."""
        args = (task_id, self.installation.retention_seconds)
        return TaskStatus((await self._run("run_now", *args, subject=task_id)).decode())

    async def edit(
        self,
        task_id: str,
        *,
        start_at: datetime | None = None,
        max_retries: int | None = None,
        tags: Sequence[str] | None = None,
    ) -> TaskStatus:
        """Change a task that is pending or queued. None: that stays as it is.

        Args:
            task_id: which task.
            start_at: when it may begin; in the past: at once. A parked run has none.
            max_retries: from 0 to 100.
            tags: instead of those that it has.

        Returns its status after it. Raises TaskNotFound, NotAllowed, UpgradeInProgress, TaskInvalid
        for tags or a number that no task may have.
        """
        check_edit(max_retries, tags)
        rules = self.installation
        status = await self._run(
            "edit",
            *(task_id, rules.retention_seconds, rules.lease_ms),
            "" if start_at is None else max(0, milliseconds(start_at)),
            "" if max_retries is None else max_retries,
            b"" if tags is None else msgspec.msgpack.encode(list(tags)),
            MAX_OPTIONS_BYTES,
            subject=task_id,
        )
        return TaskStatus(status.decode())

    async def why(self, task_id: str, stats: Stats | None = None) -> Why:
        """Why a task waits. `stats`: of the workers, if they are known. Raises TaskNotFound."""
        reply = await self._run("why", task_id, subject=task_id)
        return explain(reply, stats or await self.stats())

    async def delete(self, task_id: str) -> None:
        """Remove an ended task and everything that is kept of it.

        Raises TaskNotFound, NotAllowed.
        """
        await self._run("delete", task_id, self.installation.retention_seconds, subject=task_id)

    async def wake(self, task_id: str, item: bytes) -> TaskStatus:
        """Put an item into a task's inbox; if the task is parked until one comes, it is queued.

        Its handler finds the item in `Context.inbox` at its next attempt. After NoReply the item
        may be there: put in once more, it may be there twice.

        Returns the task's status after it. Raises TaskNotFound, NotAllowed for a task that has
        ended, InboxFull, UpgradeInProgress, and ValueError for an item of more than 64 KiB.
        """
        if len(item) > MAX_INBOX_ITEM_BYTES:
            raise ValueError(
                f"this item has {len(item)} bytes, the limit is {MAX_INBOX_ITEM_BYTES}: store the "
                "data elsewhere and put a reference into the inbox"
            )
        status = await self._run(
            "wake", task_id, item, MAX_INBOX_ITEMS, self.installation.lease_ms, subject=task_id
        )
        return TaskStatus(status.decode())

    async def reap(self, task_types: Sequence[str]) -> int:
        """Take expired leases back now; returns how many.

        No process of Headrace calls it, for every claim does the same: it is for tools and tests of
        a queue that no worker claims from.
        """
        return int(
            await self._run(
                "reap",
                self.installation.lease_ms,
                MAX_CRASHES,
                self.installation.retention_seconds,
                *task_types,
            )
        )

    async def store_final(self, task: Task) -> bool:
        """Keep the record of a run that happened outside the queue. False: its id is taken."""
        started, ended = task.started_at or task.created_at, task.completed_at or task.created_at
        return bool(
            await self._run(
                "store_final",
                *(task.id, task.type, task.status, task.payload, task.result or b""),
                *(task.error or "", milliseconds(task.created_at), milliseconds(started)),
                *(milliseconds(ended), task.max_retries, self.installation.retention_seconds),
                request_hash(task.id, task.payload, task.max_retries, 0),
                Options(task.headers, task.tags).pack(),
            )
        )

    async def drain(self, worker_id: str) -> None:
        """Mark a worker: it claims nothing more. Repeat within 60 s, or the mark ends by itself.

        Raises WorkerNotFound.
        """
        await self._run("drain", worker_id, DRAIN_SECONDS * 1000, subject=worker_id)

    async def undrain(self, worker_id: str) -> None:
        """Take a worker's drain mark away. Raises WorkerNotFound."""
        await self._run("undrain", worker_id, subject=worker_id)

    # Pinned texts

    async def put_definition(self, text: bytes) -> str:
        """Keep a text that tasks are pinned to, once; returns its SHA-256 in hex."""
        sha256 = hashlib.sha256(text).hexdigest()
        await self._link.call("SET", self._keys.definition(sha256), text)
        return sha256

    async def get_definition(self, sha256: str) -> bytes | None:
        """A text kept by `put_definition`."""
        reply: bytes | None = await self._read("GET", self._keys.definition(sha256))
        return reply

    async def _read(self, command: str, key: str, *args: Any) -> Any:
        """What lies under a key; None also for what is of another type, and cannot be ours."""
        try:
            return await self._link.call(command, key, *args)
        except ReplyError as error:
            if error.code == "WRONGTYPE":
                return None
            raise

    async def _answer(self, calls: Script) -> Any:
        """What the calls of `list` come to."""
        try:
            args = next(calls)
            while True:
                args = calls.send(await self._run("list", *args))
        except StopIteration as end:
            return end.value

    async def _run(self, name: str, *args: Any, subject: str = "") -> Any:
        try:
            return await self._link.evalsha(script(name), (self._keys.meta,), args)
        except ReplyError as error:
            raise self._script_error(error, name, subject) from None

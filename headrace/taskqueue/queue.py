"""The queue as its clients see it: submit, look up, cancel, replay, stats. Workers: consumer.py."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from . import connection
from .consumer import Consumer
from .errors import (
    IdempotencyConflict,
    LayoutTooNew,
    NoReply,
    PayloadTooLarge,
    QueueFull,
    ServerUnsuitable,
    TaskNotFound,
)
from .installation import Installation
from .keys import Keys
from .records import decode_task, is_idempotent
from .replies import script_error
from .scripts import script
from .stats import SOON_MS, MinuteRates, Stats, TypeInfo, WorkerInfo, decode_history, decode_stats
from .task import MAX_CRASHES, RECORD_VERSION, NewTask, Task, TaskStatus, milliseconds
from .wire import ReplyError

MAX_BATCH = 1000
"""A script handles so many tasks at once, lest others wait for it."""

ENOUGH_BYTES = 4 * 1_048_576
"""Callers share a round trip up to so many bytes of payload: more may outlast the time-out."""

MAX_RETRIES_LIMIT = 100
DRAIN_SECONDS = 60
"""A drain mark that is not renewed for so long ends by itself."""

HISTORY_MINUTES = 60

_TYPE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Submitted(msgspec.Struct, frozen=True):
    """What became of a submit. `created` is False when the task was there already."""

    id: str
    status: TaskStatus
    created: bool


class TaskQueue:
    """A client of one installation of the queue.

    Every call raises QueueUnavailable when Redis cannot be used: NotSent if the call provably did
    nothing, NoReply if it may have been carried out. Connections are made when needed, and again
    after an outage.

    Args:
        redis_url: where Redis is (see connection.py for the forms it may have).
        namespace: the installation's name; part of every key.
        lease_seconds: how long a worker holds a task without renewing its lease. The same for all
            processes of an installation.
        retention_seconds: how long the record of an ended task is kept.
        max_length: how many tasks of one type may wait; further ones are refused.
        max_payload_bytes: larger payloads are refused.
        timeout_seconds: a call without an answer for so long fails with NoReply.
        client_name: shown by Redis's CLIENT LIST.
        tls_ca_file: the certificate authority that signed Redis's certificate (rediss://).
        wait_replicas: a submit counts once so many replicas have it (WAIT), else NoReply.
        wait_fsync: a submit counts once it is in the append-only file, here and on
            `wait_replicas` replicas (WAITAOF; Redis 7.2), else NoReply.
    """

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        *,
        namespace: str = "headrace",
        lease_seconds: float = 15.0,
        retention_seconds: int = 7 * 24 * 3600,
        max_length: int = 1_000_000,
        max_payload_bytes: int = 1_048_576,
        timeout_seconds: float = 1.0,
        client_name: str = "headrace",
        tls_ca_file: str | None = None,
        wait_replicas: int = 0,
        wait_fsync: bool = False,
    ) -> None:
        self.installation = Installation(
            Keys(namespace),
            connection.parse_url(redis_url, namespace=namespace, tls_ca_file=tls_ca_file),
            int(lease_seconds * 1000),
            retention_seconds,
            timeout_seconds,
            client_name,
        )
        self.max_length = max_length
        self.max_payload_bytes = max_payload_bytes
        self.epoch: str | None = None
        """The last epoch that this client met."""
        self._keys = self.installation.keys
        self._link = self.installation.link()
        self._wait_command = _wait_command(wait_replicas, wait_fsync, timeout_seconds)
        self._wait_replicas = wait_replicas
        self._submitting = False
        self._next_batches: list[tuple[list[NewTask], asyncio.Future[list[Submitted]]]] = []

    async def connect(self) -> None:
        """Connect, and check that the server can do what the settings ask of it.

        Calls connect by themselves; this is to fail early. Raises NotSent, ServerUnsuitable,
        LayoutTooNew.
        """
        version = await self._link.call("HGET", self._keys.meta, "version")
        if version is not None and int(version) > RECORD_VERSION:
            raise LayoutTooNew(version.decode(), RECORD_VERSION)
        if self._wait_command and self._wait_command[0] == "WAITAOF":
            [known] = await self._link.call("COMMAND", "INFO", "WAITAOF")
            if not known:
                raise ServerUnsuitable(
                    "waiting for the append-only file needs Redis 7.2 (WAITAOF), which this server "
                    "does not have: upgrade it, or switch REDIS_WAIT_FSYNC off"
                )

    async def close(self) -> None:
        """Close the connection. Calls in flight fail with NoReply."""
        self._link.close()

    @property
    def available(self) -> bool:
        """Whether the last attempt to reach Redis succeeded."""
        return self._link.state == "closed"

    @property
    def problem(self) -> str | None:
        """Why Redis is not available, in a sentence."""
        return self._link.problem

    @property
    def lease_ms(self) -> int:
        """How long a worker holds a task without renewing its lease."""
        return self.installation.lease_ms

    def sync_client(self, *, timeout_seconds: float | None = None) -> Any:
        """A blocking redis-py client of the same Redis, for a thread of its own."""
        return self.installation.sync_client(timeout_seconds)

    def consumer(self, info: WorkerInfo, types: Sequence[TypeInfo] = ()) -> Consumer:
        """The worker's side of the queue."""
        return Consumer(self.installation, info, types)

    # Submitting

    async def submit(self, task: NewTask) -> Submitted:
        """Add a task. The same id again makes no second task.

        Concurrent callers share round trips: one call is in flight, what arrives meanwhile leaves
        in the next.

        Raises QueueFull, PayloadTooLarge, IdempotencyConflict, OutOfMemory, NotSent, NoReply, and
        ValueError for a task that no queue would take.
        """
        return (await self.submit_many([task]))[0]

    async def submit_many(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Add up to 1000 tasks, all or none of them. Raises as `submit` does."""
        if len(tasks) > MAX_BATCH:
            raise ValueError(f"{len(tasks)} tasks in one batch: {MAX_BATCH} are allowed")
        for task in tasks:
            self._check(task)
        batch = list(tasks)
        if self._submitting:
            future: asyncio.Future[list[Submitted]] = asyncio.get_running_loop().create_future()
            self._next_batches.append((batch, future))
            return await future
        self._submitting = True
        try:
            [result] = await self._submit_batches([batch])
        finally:
            self._submitting = False
            self._submit_next()
        if isinstance(result, Exception):
            raise result
        return result

    def _submit_next(self) -> None:
        if self._next_batches and not self._submitting:
            self._submitting = True
            # Kept alive by the futures' waiters: each future is resolved by this task alone.
            self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._next_batches:
                taken, count, size = [], 0, 0
                while self._next_batches and size < ENOUGH_BYTES:
                    batch, _ = self._next_batches[0]
                    count += len(batch)
                    if count > MAX_BATCH:
                        break
                    size += sum([len(task.payload) for task in batch])
                    taken.append(self._next_batches.pop(0))
                await self._submit_for(taken)
        finally:
            self._submitting = False

    async def _submit_for(
        self, waiting: list[tuple[list[NewTask], asyncio.Future[list[Submitted]]]]
    ) -> None:
        try:
            results = await self._submit_batches([batch for batch, _ in waiting])
        except Exception as error:
            results = [error for _ in waiting]
        for (_, future), result in zip(waiting, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _check(self, task: NewTask) -> None:
        if len(task.payload) > self.max_payload_bytes:
            raise PayloadTooLarge(len(task.payload), self.max_payload_bytes)
        if not 0 <= task.max_retries <= MAX_RETRIES_LIMIT:
            raise ValueError(
                f"max_retries is {task.max_retries}, allowed is 0 to {MAX_RETRIES_LIMIT}"
            )
        if not _is_type_name(task.type):
            raise ValueError(
                f"the task type {task.type!r} must be 1 to 64 letters, digits, '.', '_' or '-'"
            )

    async def _submit_batches(
        self, batches: list[list[NewTask]]
    ) -> list[list[Submitted] | Exception]:
        args: list[Any] = [self.max_length]
        add = args.extend
        for batch in batches:
            args.append(len(batch))
            for task in batch:
                start = milliseconds(task.start_at) if task.start_at else 0
                hashed = _hash(task.payload) if is_idempotent(task.id) else b""
                add((task.id, task.type, task.payload, task.max_retries, start, hashed))
        command = script("submit").command((self._keys.meta,), args)
        if self._wait_command:
            reply, confirmed = await self._link.call_together([command, self._wait_command])
            for answer in (reply, confirmed):
                if isinstance(answer, Exception):
                    raise answer
            self._check_confirmed(confirmed)
        else:
            reply = await self._link.call(*command)
        self.epoch = reply[0].decode()
        results: list[list[Submitted] | Exception] = []
        at = 1
        for batch in batches:
            results.append(self._submitted(batch, reply[at : at + len(batch)]))
            at += len(batch)
        return results

    def _submitted(self, batch: list[NewTask], codes: list[bytes]) -> list[Submitted] | Exception:
        result: list[Submitted] = []
        for task, code in zip(batch, codes, strict=True):
            if code == b"queued":
                result.append(Submitted(task.id, TaskStatus.QUEUED, True))
            elif code == b"pending":
                result.append(Submitted(task.id, TaskStatus.PENDING, True))
            elif code == b"conflict":
                return IdempotencyConflict(task.id)
            elif code == b"full":
                return QueueFull(task.type, self.max_length)
            elif code != b"refused":  # if it is, another task of the batch is to blame
                result.append(Submitted(task.id, TaskStatus(code[1:].decode()), False))
        return result

    def _check_confirmed(self, confirmed: int | list[int]) -> None:
        here, replicas = confirmed if isinstance(confirmed, list) else (1, confirmed)
        if here < 1 or replicas < self._wait_replicas:
            raise NoReply(
                f"the tasks were accepted, but only {replicas} of {self._wait_replicas} replicas "
                "confirmed them in time: submit again with the same id"
            )

    # Looking up

    async def get(self, task_id: str) -> Task:
        """A task's record. Raises TaskNotFound."""
        [task] = await self.get_many([task_id])
        if task is None:
            raise TaskNotFound(task_id)
        return task

    async def get_many(self, task_ids: Sequence[str]) -> list[Task | None]:
        """Records by id; None where there is none."""
        if not task_ids:
            return []
        replies = await self._run("get", *task_ids)
        return [decode_task(i, flat) for i, flat in zip(task_ids, replies, strict=True)]

    async def dead_letters(self, task_type: str, offset: int = 0, limit: int = 50) -> list[Task]:
        """Failed tasks of a type whose records are kept, the latest first."""
        _, *ids = await self._run("dead_letters", task_type, offset, min(limit, MAX_BATCH))
        tasks = await self.get_many([i.decode() for i in ids])
        return [task for task in tasks if task is not None]

    async def stats(self, known_types: Iterable[str] = ()) -> Stats:
        """Every queue and every live worker at one moment, at the same cost at any depth.

        Args:
            known_types: queues that stand in it even if nothing was ever submitted to them.
        """
        stats = decode_stats(
            await self._run("stats", self.installation.lease_ms, SOON_MS, *known_types)
        )
        self.epoch = stats.epoch
        return stats

    async def history(self, task_type: str) -> list[MinuteRates]:
        """What happened in each of the last 60 minutes, the oldest first."""
        return decode_history(await self._run("history", task_type, HISTORY_MINUTES))

    async def types(self) -> dict[str, TypeInfo]:
        """The task types that workers published, by name. They stay when no worker is left."""
        flat = await self._link.call("HVALS", self._keys.types)
        types = [msgspec.json.decode(raw, type=TypeInfo) for raw in flat]
        return {info.name: info for info in types}

    # Moving

    async def cancel(self, task_id: str, *, running: bool = False) -> TaskStatus:
        """Cancel a task that has not begun; with `running`, ask one that runs to stop.

        Returns CANCELLED, or RUNNING if it was asked to stop. Raises TaskNotFound, NotAllowed.
        """
        before = await self._run(
            "cancel", task_id, int(running), self.installation.retention_seconds, subject=task_id
        )
        return TaskStatus.RUNNING if before == b"running" else TaskStatus.CANCELLED

    async def replay(self, task_id: str) -> TaskStatus:
        """Queue a failed or cancelled task again, its retries counted from 0.

        Raises TaskNotFound, NotAllowed, QueueFull.
        """
        status = await self._run("replay", task_id, self.max_length, subject=task_id)
        return TaskStatus(status.decode())

    async def reap(self, task_types: Sequence[str]) -> int:
        """Take expired leases back now, as every claim does; returns how many."""
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
        reply: bytes | None = await self._link.call("GET", self._keys.definition(sha256))
        return reply

    async def _run(self, name: str, *args: Any, subject: str = "") -> Any:
        try:
            return await self._link.evalsha(script(name), (self._keys.meta,), args)
        except ReplyError as error:
            raise script_error(
                error, subject=subject, move=name, max_length=self.max_length
            ) from None


@lru_cache(maxsize=1024)
def _is_type_name(name: str) -> bool:
    return _TYPE_PATTERN.fullmatch(name) is not None


def _hash(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:16]


def _wait_command(replicas: int, fsync: bool, timeout_seconds: float) -> tuple[Any, ...] | None:
    """What follows a submit so that it counts only once it is safe."""
    milliseconds_to_wait = int(timeout_seconds * 500)
    if fsync:
        return ("WAITAOF", 1, replicas, milliseconds_to_wait)
    if replicas:
        return ("WAIT", replicas, milliseconds_to_wait)
    return None

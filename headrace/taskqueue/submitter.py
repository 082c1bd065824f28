"""Submitting: checks at the door, and round trips shared by concurrent callers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.limits import DEFAULT_MAX_RETRIES, ENOUGH_BYTES, MAX_BATCH
from headrace.taskqueue.checks import check
from headrace.taskqueue.errors import (
    IdempotencyConflict,
    NotConfirmed,
    QueueFull,
    ServerUnsuitable,
    TaskInvalid,
    UpgradeInProgress,
)
from headrace.taskqueue.installation import Installation
from headrace.taskqueue.records import request_hash
from headrace.taskqueue.redis.connection import Command, ReplyError
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.replies import script_error
from headrace.taskqueue.scripts import script
from headrace.taskqueue.task import NewTask, Options, TaskStatus, milliseconds


class Submitted(msgspec.Struct, frozen=True):
    """What became of a submit. `created` is False when the task was there already."""

    id: str
    status: TaskStatus
    created: bool


class SubmitLimits(msgspec.Struct, frozen=True):
    """What a submit is held to."""

    max_length: int
    """How many tasks of one type may wait."""
    max_payload_bytes: int
    wait_replicas: int
    """A submit counts once so many replicas have it."""
    wait_fsync: bool
    """A submit counts once it is in the append-only file."""


class Submitter:
    """Sends submits: one call is in flight, what arrives meanwhile leaves in the next.

    Args:
        installation: where the queue is.
        link: the connection to use.
        limits: what is refused, and what is waited for.
    """

    def __init__(self, installation: Installation, link: Link, limits: SubmitLimits) -> None:
        self.epoch: str | None = None
        """The epoch that the last submit met."""
        self._keys = (installation.keys.meta,)
        self._lease_ms = installation.lease_ms
        self._link = link
        self._limits = limits
        self._wait_command = _wait_command(limits, installation.timeout_seconds)
        self._sending = False
        self._waiting: deque[tuple[list[NewTask], asyncio.Future[list[Submitted]]]] = deque()
        self._flush_task: asyncio.Task[None] | None = None

    async def check_server(self) -> None:
        """Raise ServerUnsuitable when the server cannot do what the limits ask of it."""
        if self._limits.wait_fsync:
            [found] = await self._link.call("COMMAND", "INFO", "WAITAOF")
            if not found:
                raise ServerUnsuitable(
                    "waiting for the append-only file needs Redis 7.2 (WAITAOF), which this server "
                    "does not have: upgrade it, or switch REDIS_WAIT_FSYNC off"
                )

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Add up to 1000 tasks, all or none of them. For the errors see TaskQueue.submit."""
        if len(tasks) > MAX_BATCH:
            raise TaskInvalid(f"{len(tasks)} tasks in one batch: {MAX_BATCH} are allowed")
        for task in tasks:
            check(task, self._limits.max_payload_bytes)
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
        args: list[Any] = [self._limits.max_length, self._lease_ms]
        add = args.extend
        for batch in batches:
            args.append(len(batch))
            for task in batch:
                add((task.id, task.type, task.payload, _asked_besides(task)))
        epoch, *codes = await self._call(script("submit").command(self._keys, args))
        self.epoch = epoch.decode()
        results: list[list[Submitted] | Exception] = []
        at = 0
        for batch in batches:
            results.append(self._submitted(batch, codes[at : at + len(batch)]))
            at += len(batch)
        return results

    async def _call(self, command: Command) -> list[bytes]:
        codes: list[bytes]
        try:
            if self._wait_command is None:
                codes = await self._link.call(*command)
                return codes
            replies = await self._link.call_together([command, self._wait_command])
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        except ReplyError as error:
            raise script_error(error) from None
        codes, confirmed = replies
        self._check_confirmed(confirmed)
        return codes

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
                return QueueFull(task.type, self._limits.max_length)
            elif code == b"upgrade":
                return UpgradeInProgress(task.id)
            elif code != b"refused":  # if it is, another task of the batch is to blame
                result.append(Submitted(task.id, TaskStatus(code[1:].decode()), False))
        return result

    def _check_confirmed(self, confirmed: int | list[int]) -> None:
        here, replicas = confirmed if isinstance(confirmed, list) else (1, confirmed)
        wanted = self._limits.wait_replicas
        if here < 1 or replicas < wanted:
            raise NotConfirmed(
                f"the tasks were accepted, but only {replicas} of {wanted} replicas confirmed them "
                "in time: submit again with the same id"
            )


def _asked_besides(task: NewTask) -> bytes:
    """What a task asks for besides being run; empty for most (see submit.lua)."""
    start = milliseconds(task.start_at) if task.start_at else 0
    hashed = request_hash(task.id, task.payload, task.max_retries, start, task.start_in_ms)
    options = Options(task.headers, task.tags).pack() if task.headers or task.tags else b""
    if hashed or start or options or task.max_retries != DEFAULT_MAX_RETRIES:
        asked = (task.max_retries, max(start, 0), hashed.encode(), task.options_needed, options)
        return b"%d %d %b %d %b" % asked
    return b""


def _wait_command(limits: SubmitLimits, timeout_seconds: float) -> Command | None:
    """What follows a submit so that it counts only once it is safe."""
    milliseconds_to_wait = int(timeout_seconds * 500)
    if limits.wait_fsync:
        return ("WAITAOF", 1, limits.wait_replicas, milliseconds_to_wait)
    if limits.wait_replicas:
        return ("WAIT", limits.wait_replicas, milliseconds_to_wait)
    return None

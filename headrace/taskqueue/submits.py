"""Writes submits for Redis, and reads its replies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.limits import DEFAULT_MAX_RETRIES, MAX_BATCH
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
from headrace.taskqueue.redis.connection import Command, Reply, ReplyError
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
    max_depth: int
    """How deep children may have children."""
    wait_replicas: int
    """A submit counts once so many replicas have it."""
    wait_fsync: bool
    """A submit counts once it is in the append-only file."""


class Submits:
    """From tasks to commands, and from replies to what became of the tasks.

    Args:
        installation: where the queue is.
        limits: what is refused, and what is waited for.
    """

    def __init__(self, installation: Installation, limits: SubmitLimits) -> None:
        self.epoch: str | None = None
        """The epoch that the last submit met."""
        self.question: Command | None = None
        """What to ask the server, to see whether it can do what the limits ask of it."""
        if limits.wait_fsync:
            self.question = ("COMMAND", "INFO", "WAITAOF")
        self._keys = (installation.keys.meta,)
        self._lease_ms = installation.lease_ms
        self.limits = limits
        self._wait_command = _wait_command(limits, installation.timeout_seconds)

    @staticmethod
    def check_server(reply: Reply) -> None:
        """Raise ServerUnsuitable if the answer to `question` says so."""
        [found] = reply
        if not found:
            raise ServerUnsuitable(
                "waiting for the append-only file needs Redis 7.2 (WAITAOF), which this server "
                "does not have: upgrade it, or switch REDIS_WAIT_FSYNC off"
            )

    def check(self, tasks: Sequence[NewTask]) -> None:
        """Raise TaskInvalid or PayloadTooLarge for a batch that would not be taken."""
        if len(tasks) > MAX_BATCH:
            raise TaskInvalid(f"{len(tasks)} tasks in one batch: {MAX_BATCH} are allowed")
        limit = self.limits.max_payload_bytes
        for task in tasks:
            check(task, limit)

    def commands(self, batches: Sequence[Sequence[NewTask]]) -> list[Command]:
        """The commands, to be sent together, that add batches, each all or none of its tasks."""
        args: list[Any] = [self.limits.max_length, self._lease_ms]
        add = args.extend
        for batch in batches:
            args.append(len(batch))
            for task in batch:
                add((task.id, task.type, task.payload, _asked_besides(task)))
        command = script("submit").command(self._keys, args)
        return [command] if self._wait_command is None else [command, self._wait_command]

    def results(
        self, batches: Sequence[Sequence[NewTask]], replies: Sequence[Reply]
    ) -> list[list[Submitted] | Exception]:
        """What became of each batch. Raises the error that the commands met."""
        for reply in replies:
            if isinstance(reply, Exception):
                raise script_error(reply) if isinstance(reply, ReplyError) else reply
        if self._wait_command is not None:
            self._check_confirmed(replies[1])
        epoch, *codes = replies[0]
        self.epoch = epoch.decode()
        results: list[list[Submitted] | Exception] = []
        at = 0
        for batch in batches:
            results.append(self._submitted(batch, codes[at : at + len(batch)]))
            at += len(batch)
        return results

    def _submitted(
        self, batch: Sequence[NewTask], codes: list[bytes]
    ) -> list[Submitted] | Exception:
        result: list[Submitted] = []
        for task, code in zip(batch, codes, strict=True):
            if code == b"queued":
                result.append(Submitted(task.id, TaskStatus.QUEUED, True))
            elif code == b"pending":
                result.append(Submitted(task.id, TaskStatus.PENDING, True))
            elif code == b"conflict":
                return IdempotencyConflict(task.id)
            elif code == b"full":
                return QueueFull(task.type, self.limits.max_length)
            elif code == b"upgrade":
                return UpgradeInProgress(task.id)
            elif code != b"refused":  # if it is, another task of the batch is to blame
                result.append(Submitted(task.id, TaskStatus(code[1:].decode()), False))
        return result

    def _check_confirmed(self, confirmed: int | list[int]) -> None:
        here, replicas = confirmed if isinstance(confirmed, list) else (1, confirmed)
        wanted = self.limits.wait_replicas
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

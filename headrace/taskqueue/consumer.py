"""The queue as a worker sees it: register, claim, settle, and what belongs to a lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.limits import (
    ENOUGH_BYTES,
    MAX_BATCH,
    MAX_CHILDREN,
    MAX_CRASHES,
    MAX_ERROR_CHARACTERS,
    MAX_PROGRESS_MESSAGE,
)
from headrace.taskqueue.attempts import pack_details
from headrace.taskqueue.checks import check
from headrace.taskqueue.errors import QueueError, TooDeep
from headrace.taskqueue.installation import Installation
from headrace.taskqueue.records import request_hash
from headrace.taskqueue.redis.connection import Command, ReplyError
from headrace.taskqueue.renewer import MIN_BLOCK_SECONDS, Renewal, Renewer, renewal_call, renewal_of
from headrace.taskqueue.replies import script_error
from headrace.taskqueue.scripts import script
from headrace.taskqueue.settlements import (
    Cancelled,
    Completed,
    Failed,
    Parked,
    Released,
    Settlement,
)
from headrace.taskqueue.stats import REGISTRATION_KEPT_SECONDS, RunningTask, TypeInfo, WorkerInfo
from headrace.taskqueue.submits import SubmitLimits, Submitted
from headrace.taskqueue.task import ClaimedTask, NewTask, Options, TaskStatus, milliseconds

TEND_SECONDS = 0.1
"""A busy worker looks so often for delayed tasks that are due and for expired leases."""


class Claim(msgspec.Struct, frozen=True):
    """What a claim brought."""

    tasks: list[ClaimedTask]
    more: bool
    """More waits: ask again at once."""
    draining: bool
    """This worker is marked: it gets nothing while the mark holds."""
    next_in_seconds: float | None
    """When something delayed is due or a lease ends; None: nothing is known of."""


class Ahead(msgspec.Struct, frozen=True):
    """What a claim takes beyond its limit, for slots that come free before the next one."""

    limit: int
    """So many tasks at most, and 64 KiB of payloads and the task that goes beyond. Only tasks that
    nobody held before: what a crash took along, or was handed back, waits for a free slot."""
    types: Sequence[str]
    """Of these types alone."""


_NOTHING_AHEAD = Ahead(0, ())


class Consumer:
    """One worker's calls. Moves of a task succeed only while the worker holds its lease.

    Every call raises as those of TaskQueue do, and EpochChanged when Redis lost its data: then
    `restore` what runs, and call again. At most one claim may be in flight.
    """

    def __init__(
        self,
        installation: Installation,
        limits: SubmitLimits,
        info: WorkerInfo,
        types: Sequence[TypeInfo] = (),
    ) -> None:
        self.info = info
        self.epoch = ""
        self.settled_request = 0
        """All claims up to this one have ended, and what they brought was handed over before the
        next one began; or they brought an error. Read it before the list of what is held (see
        Renewer.renew)."""
        self._installation = installation
        self._limits = limits
        self._types = types
        self._keys = (installation.keys.meta,)
        self._link = installation.link()
        self._wait_link = installation.link()
        self._request = 0
        self._first_queue = 0
        self._tended_at = 0.0

    async def register(self) -> None:
        """Make the worker and its task types known. Raises LayoutTooNew."""
        queues = self.info.queues
        types = [part for info in self._types for part in (info.name, msgspec.json.encode(info))]
        args = (
            *(self.info.id, msgspec.json.encode(self.info), REGISTRATION_KEPT_SECONDS * 1000),
            *(self.info.version, len(queues), *queues, *types),
        )
        self.epoch = (await self._call("register", args)).decode()

    async def deregister(self) -> None:
        """Say goodbye. What is still held is handed back."""
        kept = self._installation.retention_seconds
        await self._call("deregister", (*self._holder(kept), *self.info.queues))

    async def close(self) -> None:
        """Close the connections."""
        self._link.close()
        self._wait_link.close()

    def renewer(self) -> Renewer:
        """The heartbeat, for a thread of its own."""
        return Renewer(self._installation, self.info.id, lambda: self.epoch)

    async def renew(
        self, held: Sequence[ClaimedTask], running: Sequence[RunningTask], settled_request: int
    ) -> Renewal:
        """A heartbeat over this connection, while the Renewer's own gets no answer."""
        name, args = renewal_call(
            self._installation, self.info.id, self.epoch, held, running, settled_request
        )
        return renewal_of(await self._call(name, args))

    # Claiming

    async def claim(self, limit: int) -> Claim:
        """Take up to `limit` tasks (≤ 1000) that wait now."""
        try:
            reply = await self._link.call(*self._claim_command(limit))
        except BaseException as error:
            self._claim_failed()
            if isinstance(error, ReplyError):
                raise script_error(error) from None
            raise
        return _claim(reply)

    async def wait_and_claim(self, limit: int, timeout_seconds: float) -> Claim:
        """Wait until there may be something to claim, at most so long; then claim.

        Both commands leave together, on a connection of their own: the claim runs right after the
        waiting ends. To be cut short by `unblock`; cancelled, it closes that connection.
        """
        tokens = [self._installation.keys.wake(name) for name in self.info.queues]
        wait: Command = ("BLPOP", *tokens, f"{max(timeout_seconds, MIN_BLOCK_SECONDS):.3f}")
        try:
            woken, reply = await self._wait_link.call_together(
                [wait, self._claim_command(limit)],
                timeout=timeout_seconds + self._installation.timeout_seconds,
            )
            if isinstance(reply, QueueError):
                raise script_error(reply) if isinstance(reply, ReplyError) else reply
        except BaseException as error:
            self._claim_failed()
            if isinstance(error, asyncio.CancelledError):
                self._wait_link.drop()
            raise
        if isinstance(woken, ReplyError) and woken.code == "WRONGTYPE":
            # It cannot be waited for. A token that is lost costs a second.
            await self._link.call("DEL", *tokens)
        return _claim(reply)

    async def unblock(self) -> None:
        """End the waiting of `wait_and_claim`; its claim follows."""
        if self._wait_link.client_id is not None:
            await self._link.call("CLIENT", "UNBLOCK", self._wait_link.client_id)

    def _claim_failed(self) -> None:
        """Whatever the last claim took will not be heard of: a renewal may give it back."""
        self.settled_request = self._request

    def _claim_command(
        self, limit: int, *, ahead: Ahead | None = None, tend: bool = True
    ) -> Command:
        now = time.monotonic()
        tend = tend or now - self._tended_at >= TEND_SECONDS
        if tend:
            self._tended_at = now
        self.settled_request = self._request
        self._request += 1
        queues, beyond = self.info.queues, ahead or _NOTHING_AHEAD
        first = self._first_queue = (self._first_queue + 1) % len(queues)
        return script("claim").command(
            self._keys,
            (
                *(self.info.id, self.epoch, self._installation.lease_ms, limit, self._request),
                *(MAX_CRASHES, self._installation.retention_seconds, int(tend)),
                *(beyond.limit, len(queues)),
                *(queues[first:] + queues[:first]),
                *beyond.types,
            ),
        )

    # Settling

    async def settle(
        self,
        settlements: Sequence[Settlement],
        claim_limit: int = 0,
        ahead: Ahead | None = None,
    ) -> tuple[list[TaskStatus | None], Claim | None]:
        """Report how attempts ended, and claim the next tasks, in one round trip.

        Returns each task's new status, in order (None: the lease was lost, the settlement changes
        nothing), and the claim if `claim_limit` is above 0. The same call twice is a success: after
        any error, call again with the same settlements. `ahead`: what is claimed beyond the limit.
        """
        commands, orders = self._settling_commands(settlements)
        if claim_limit > 0:
            commands.append(self._claim_command(claim_limit, ahead=ahead, tend=False))
        try:
            replies = await self._link.call_together(commands)
            for reply in replies:
                if isinstance(reply, QueueError):
                    raise script_error(reply) if isinstance(reply, ReplyError) else reply
        except BaseException:
            if claim_limit > 0:
                self._claim_failed()
            raise
        statuses: list[TaskStatus | None] = [None] * len(settlements)
        for order, reply in zip(orders, replies, strict=False):
            for position, status in zip(order, reply, strict=True):
                statuses[position] = None if status == b"lost" else _STATUSES[status]
        return statuses, _claim(replies[-1]) if claim_limit > 0 else None

    def _settling_commands(
        self, settlements: Sequence[Settlement]
    ) -> tuple[list[Command], list[list[int]]]:
        """One command per kind of settlement, and which of the settlements each carries."""
        head = self._holder(self._installation.retention_seconds)
        args: dict[str, list[Any]] = {}
        orders: dict[str, list[int]] = {}
        for position, settlement in enumerate(settlements):
            name, values = _script_and_arguments(settlement)
            if name not in args:
                args[name], orders[name] = [*head], []
            args[name].extend(values)
            orders[name].append(position)
        commands = [script(name).command(self._keys, values) for name, values in args.items()]
        return commands, list(orders.values())

    # While a task runs

    async def checkpoint(
        self, task: ClaimedTask, state: bytes, entries: Sequence[bytes] = ()
    ) -> bool:
        """Keep bytes under a task, for the attempt after a crash. False: the lease is lost.

        They take the place of the state and the journal; `entries` begin a new journal. Raises
        UpgradeInProgress as `append` does, if there are any.
        """
        args = (*self._holder(), task.id, task.type, task.fence, state, *entries)
        return bool(await self._call("checkpoint", args))

    async def append(self, task: ClaimedTask, entries: Sequence[bytes]) -> bool:
        """Append to a task's journal, which has `task.journal` so far. False: the lease is lost.

        Raises UpgradeInProgress for the first entry while a live worker is too old to read any.
        """
        args = (*self._holder(), task.id, task.type, task.fence, len(task.journal), *entries)
        return bool(await self._call("append", args))

    async def submit_child(self, parent: ClaimedTask, child: NewTask) -> Submitted | None:
        """Submit a task whose end wakes the one that is held. None: the lease is lost.

        Raises as `TaskQueue.submit` does; UpgradeInProgress while any worker of 0.2.0 lives; and
        ChildrenFull, TooDeep.
        """
        if parent.depth >= self._limits.max_depth:
            raise TooDeep(self._limits.max_depth)
        check(child, self._limits.max_payload_bytes)
        options = Options(child.headers, child.tags, parent.id, parent.depth + 1)
        start = milliseconds(child.start_at) if child.start_at else 0
        args = (
            *(*self._holder(), parent.id, parent.type, parent.fence),
            *(self._limits.max_length, MAX_CHILDREN, child.id, child.type, child.payload),
            *(child.max_retries, max(start, 0), options.pack()),
        )
        status = (await self._call("submit_child", args)).decode()
        if status == "lost":
            return None
        return Submitted(child.id, TaskStatus(status.lstrip("=")), status[0] != "=")

    async def progress(self, task: ClaimedTask, percent: float, message: str) -> bool:
        """Say how far a task is (0 to 100). False: the lease is lost."""
        said = (f"{percent:g}", _utf8(message[:MAX_PROGRESS_MESSAGE]))
        args = (*self._holder(), task.id, task.type, task.fence, *said)
        return bool(await self._call("progress", args))

    async def restore(self, tasks: Sequence[ClaimedTask]) -> list[bool]:
        """Redis lost its data: register again, and put back what this worker runs.

        Returns for each task whether the worker holds it again (False: somebody else has it).
        """
        await self.register()
        kept: list[bool] = []
        while len(kept) < len(tasks):
            args: list[Any] = [*self._holder(), self._request]
            size = 0
            for task in tasks[len(kept) : len(kept) + MAX_BATCH]:
                state = task.state or b""
                args.extend((task.id, task.type, task.payload, task.fence, task.created_at_ms))
                args.extend((task.started_at_ms, task.retry_count, task.crash_count))
                hashed = request_hash(task.id, task.payload, task.max_retries)
                args.extend((task.max_retries, state, hashed, task.options, task.parent or ""))
                args.append(int(task.has_children))
                args.extend((len(task.inbox), len(task.journal), *task.inbox, *task.journal))
                size += len(task.payload) + len(state)
                size += sum(map(len, task.inbox)) + sum(map(len, task.journal))
                if size >= ENOUGH_BYTES:
                    break
            kept += [bool(is_kept) for is_kept in await self._call("restore", args)]
        return kept

    def _holder(self, *more: Any) -> tuple[Any, ...]:
        return (self.info.id, self.epoch, self._installation.lease_ms, *more)

    async def _call(self, name: str, args: Sequence[Any]) -> Any:
        try:
            return await self._link.evalsha(script(name), self._keys, args)
        except ReplyError as error:
            length = self._limits.max_length
            raise script_error(error, subject=self.info.id, move=name, max_length=length) from None


_STATUSES = {status.value.encode(): status for status in TaskStatus}


def _script_and_arguments(settlement: Settlement) -> tuple[str, tuple[Any, ...]]:
    """The script that a settlement goes to, and its arguments."""
    task = settlement.task
    hold = (task.id, task.type, task.fence)
    match settlement:
        case Completed(_, result, run_ms):
            return "finish", (*hold, "completed", run_ms, result)
        case Cancelled(_, run_ms):
            return "finish", (*hold, "cancelled", run_ms, b"")
        case Failed(_, error, delay_ms, run_ms, error_type, traceback, problem):
            said = _utf8(error[:MAX_ERROR_CHARACTERS])
            delay = -1 if delay_ms is None else delay_ms
            details = pack_details(error_type, traceback)
            return "fail", (*hold, said, delay, run_ms, details, problem)
        case Parked(_, unpark_at_ms, state, run_ms, wake_on, entries):
            at = "" if unpark_at_ms is None else unpark_at_ms
            kept = ("", b"") if state is None else (1, state)
            when = (at, run_ms, len(task.inbox), int(wake_on == "inbox"))
            return "park", (*hold, *when, *kept, len(entries), *entries)
        case Released(_, run_ms):
            return "release", (*hold, run_ms, MAX_CRASHES)


def _utf8(text: str) -> bytes:
    """Text from a handler: half a surrogate pair in it must not stop the report."""
    return text.encode("utf-8", "replace")


def _claim(reply: Sequence[Any]) -> Claim:
    more, draining, next_in_ms, tasks = reply
    return Claim(
        [_claimed(*values) for values in tasks],
        bool(more),
        bool(draining),
        None if next_in_ms < 0 else next_in_ms / 1000,
    )


def _claimed(
    task_id: bytes,
    task_type: bytes,
    payload: bytes,
    created_at_ms: int,
    started_at_ms: int,
    max_retries: int,
    fence: int = 1,
    retry_count: int = 0,
    crash_count: int = 0,
    state: bytes = b"",
    options: bytes = b"",
    inbox: Sequence[bytes] = (),
    journal: Sequence[bytes] = (),
    generation: int = 0,
    has_children: int = 0,
) -> ClaimedTask:
    """A task as the script tells of it, which leaves out the end of what few tasks have."""
    return ClaimedTask(
        id=task_id.decode(),
        type=task_type.decode(),
        payload=payload,
        fence=fence,
        created_at_ms=created_at_ms,
        started_at_ms=started_at_ms,
        retry_count=retry_count,
        crash_count=crash_count,
        max_retries=max_retries,
        state=state or None,
        options=options,
        inbox=tuple(inbox),
        journal=tuple(journal),
        generation=generation,
        has_children=bool(has_children),
    )

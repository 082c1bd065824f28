"""The worker's session with Redis: its registration, its epoch, and every call that it makes.

Redis may lose its data while tasks run. Whichever call meets the new epoch first, the worker
registers again and puts back what it holds before any other call goes out: a finish that arrived
in between would find no lease, and the result would be lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from headrace.handlers import Backoff, own_task
from headrace.logs import get_logger
from headrace.taskqueue import (
    Ahead,
    Claim,
    Consumer,
    EpochChanged,
    LayoutTooNew,
    NewTask,
    QueueError,
    Renewal,
    Settlement,
    Submitted,
    TaskStatus,
    WorkerNotFound,
)
from headrace_worker.contact import Contact
from headrace_worker.running import Hand, Running

BACKOFF = Backoff(base_seconds=0.1, cap_seconds=1.0)
"""Between tries while Redis is away. Short, so that work goes on soon after its return."""

T = TypeVar("T")
log = get_logger("headrace_worker")


class Session:
    """Calls of one worker. They raise QueueError when Redis cannot be used, never EpochChanged.

    Args:
        consumer: the queue's side.
        contact: told of every call.
        hand: what the worker holds, to be put back when Redis lost its data.
    """

    def __init__(self, consumer: Consumer, contact: Contact, hand: Hand) -> None:
        self.restorations = 0
        """Grows when a restoration begins and again when it ends: odd while one is under way."""
        self.registered = False
        """Whether it ever was."""
        self.epoch = ""
        """In which everything held is known to Redis. From any thread."""
        self._consumer = consumer
        self._contact = contact
        self._hand = hand
        self._restoring: asyncio.Task[None] | None = None

    async def register(self) -> None:
        """Make the worker known."""
        await self._call("register", self._consumer.register)
        self.epoch = self._consumer.epoch
        self.registered = True

    async def settle(
        self, settlements: Sequence[Settlement], limit: int, ahead: Ahead | None
    ) -> tuple[list[TaskStatus | None], Claim | None]:
        """Report settlements and claim up to `limit` tasks, and `ahead` beyond them."""
        call = "finish" if settlements else "claim"
        return await self._call(
            call, lambda: self._consumer.settle(settlements, limit, ahead), asks=limit > 0
        )

    async def claim(self, limit: int) -> Claim:
        """Take what waits now."""
        return await self._call("claim", lambda: self._consumer.claim(limit), asks=True)

    async def wait_and_claim(self, limit: int, timeout_seconds: float) -> Claim:
        """Wait for a wake-up, then take what waits.

        On a connection of its own, which says nothing of whether ends can be reported.
        """
        return await self._call(
            "wake-up",
            lambda: self._consumer.wait_and_claim(limit, timeout_seconds),
            asks=True,
            tells=False,
        )

    async def unblock(self) -> None:
        """End a wait under way."""
        await self._call("unblock", self._consumer.unblock)

    async def progress(self, running: Running, percent: float, message: str) -> bool:
        """Say how far a task is. False: the lease is lost."""
        return await self._call(
            "progress", lambda: self._consumer.progress(running.claimed, percent, message)
        )

    async def checkpoint(self, running: Running, state: bytes, entries: Sequence[bytes]) -> bool:
        """Keep bytes under a task. False: the lease is lost."""
        return await self._call(
            "checkpoint", lambda: self._consumer.checkpoint(running.claimed, state, entries)
        )

    async def append(self, running: Running, entries: Sequence[bytes]) -> bool:
        """Append to a task's journal. False: the lease is lost."""
        return await self._call("append", lambda: self._consumer.append(running.claimed, entries))

    async def submit_child(self, running: Running, child: NewTask) -> Submitted | None:
        """Submit a child of a task. None: the lease is lost."""
        return await self._call(
            "submit", lambda: self._consumer.submit_child(running.claimed, child)
        )

    async def renew(self, held: Sequence[Running], settled_request: int) -> Renewal:
        """Renew the leases over the loop's connection; see `Consumer.renew`."""
        return await self._call(
            "renew",
            lambda: self._consumer.renew(
                [running.claimed for running in held], self._hand.running_now(), settled_request
            ),
        )

    async def deregister(self) -> None:
        """Say goodbye."""
        await self._call("deregister", self._consumer.deregister)

    async def _call(
        self,
        name: str,
        make: Callable[[], Awaitable[T]],
        *,
        asks: bool = False,
        tells: bool = True,
    ) -> T:
        """One call, repeated after a restoration; an answer or a failure is noted."""
        while True:
            if self._restoring is not None:
                await asyncio.shield(self._restoring)
            epoch = self.epoch
            try:
                return await self._noted(name, make, asks=asks, tells=tells)
            except EpochChanged:
                await self.restore(epoch)

    async def _noted(
        self, name: str, make: Callable[[], Awaitable[T]], *, asks: bool, tells: bool = True
    ) -> T:
        """One call. `tells`: its end tells whether the loop has contact with Redis."""
        number = self._contact.begin(name, asks=asks)
        try:
            result = await make()
        except (EpochChanged, LayoutTooNew, WorkerNotFound):
            if tells:
                self._contact.answered("loop")
            raise
        except QueueError as error:
            if tells:
                self._contact.failed("loop", error)
            raise
        finally:
            self._contact.end(number)
        if tells:
            self._contact.answered("loop")
        return result

    async def restore(self, gone: str) -> None:
        """Register again, and put back what is held; returns when that is done.

        Whatever finds out calls this, with the epoch that it worked in: several may, and some late.
        One restoration runs, and what was put back since is not put back again.
        """
        if self._restoring is None:
            if gone != self.epoch:
                return
            self.restorations += 1
            self._restoring = own_task(asyncio.get_running_loop(), self._restore())
        await asyncio.shield(self._restoring)

    async def _restore(self) -> None:
        try:
            failures = 0
            while not await self._try_to_restore():
                await asyncio.sleep(BACKOFF.delay(failures, random.random))
                failures += 1
        finally:
            self.restorations += 1
            self._restoring = None

    async def _try_to_restore(self) -> bool:
        held = self._hand.held_now()
        try:
            kept = await self._noted(
                "restore",
                lambda: self._consumer.restore([attempt.claimed for attempt in held]),
                asks=True,  # no other call may ask for tasks meanwhile
            )
        except LayoutTooNew:
            raise
        except QueueError:
            return False
        self.epoch = self._consumer.epoch
        log.warning("worker.restored", epoch=self.epoch, held=len(held), put_back=sum(kept))
        for attempt, is_kept in zip(held, kept, strict=True):
            if not is_kept:
                self._hand.lose(attempt)
        return True

"""Waits for tasks to end: by a subscription, and by reading records after a gap."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from headrace.taskqueue.errors import QueueError
from headrace.taskqueue.installation import Installation
from headrace.taskqueue.redis.connection import ReplyError
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.task import FINAL, TaskStatus

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

COMPARE_SECONDS = 1.0
"""The number of the last message is compared with its counter in Redis so often. Without a
subscription, all records that are waited for are read instead."""

REREAD_SECONDS = 5.0
"""All records that are waited for are read so often in any case: workers of 0.2.0 publish
nothing."""

READ_AT_ONCE = 500

MAX_HEARD = 10_000
"""A listener that does not take what it heard misses what comes then."""

_FINAL = {status.value.encode(): status for status in FINAL}


class Waiter:
    """What one caller waits for."""

    def __init__(self, task_ids: Iterable[str]) -> None:
        self.task_ids = set(task_ids)
        """The tasks that have not ended yet, as far as `next` has told."""
        self._ended: dict[str, TaskStatus | None] = {}
        self._some = asyncio.Event()

    async def next(self) -> dict[str, TaskStatus | None]:
        """Wait until at least one more has ended; how each of them did. None: it has no record."""
        await self._some.wait()
        self._some.clear()
        ended, self._ended = self._ended, {}
        self.task_ids -= ended.keys()
        return ended

    def tell(self, task_id: str, status: TaskStatus | None) -> None:
        """A task has ended, or has no record."""
        self._ended[task_id] = status
        self._some.set()


class Listener:
    """What one caller hears of all ends: as many as it takes in time."""

    def __init__(self) -> None:
        self.missed = False
        """Some ends were not heard since `take`."""
        self.since = 0
        """The number of the last message before those that `take` returns next."""
        self.number = 0
        """The number of the last message."""
        self._heard: list[tuple[str, TaskStatus]] = []

    def take(self) -> list[tuple[str, TaskStatus]]:
        """What was heard since the last call: id and status."""
        heard, self._heard, self.missed = self._heard, [], False
        self.since = self.number
        return heard

    def hear(self, task_id: str, status: TaskStatus) -> None:
        """A task has ended."""
        if len(self._heard) < MAX_HEARD:
            self._heard.append((task_id, status))
        else:
            self.missed = True


class EndWatch:
    """Tells those who wait that their tasks have ended. One for all in an event loop.

    Every call that ends tasks publishes their ids once, under a number that grows by one each time.
    The channel is subscribed to while somebody waits. Once a second that number is compared with
    its counter in Redis. After a gap, or with a new connection, the records of all tasks that are
    waited for are read, 500 in one trip. So nobody waits for an end that was published unheard for
    more than two seconds, nor for one that was never published for more than five.
    """

    def __init__(
        self,
        installation: Installation,
        link: Link,
        *,
        compare_seconds: float = COMPARE_SECONDS,
        reread_seconds: float = REREAD_SECONDS,
    ) -> None:
        self.gaps = 0
        """How often something was missed: messages, or the connection."""
        self._installation = installation
        self._keys = installation.keys
        self._link = link
        self._compare_seconds = compare_seconds
        self._reread_seconds = reread_seconds
        self._waiting: dict[str, set[Waiter]] = defaultdict(set)
        self._listeners: set[Listener] = set()
        self._unread: set[str] = set()
        """Tasks that may have ended unheard."""
        self._some_unread = asyncio.Event()
        self._subscribed = False
        self._seen = 0
        """The number of the last message."""
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.contextmanager
    def waiting(self, task_ids: Iterable[str]) -> Iterator[Waiter]:
        """Wait for the ends of these tasks: `next` brings them, those that came before too."""
        waiting = Waiter(task_ids)
        mine = frozenset(waiting.task_ids)
        for task_id in mine:
            self._waiting[task_id].add(waiting)
        self._read_again(mine)
        self._start()
        try:
            yield waiting
        finally:
            for task_id in mine & self._waiting.keys():
                self._waiting[task_id].discard(waiting)
                if not self._waiting[task_id]:
                    del self._waiting[task_id]
            self._stop_if_unused()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """Hear of all ends from now on. What ends unheard is not told: see `Listener.missed`."""
        listener = Listener()
        self._listeners.add(listener)
        self._start()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._stop_if_unused()

    async def ended(self, task_ids: Sequence[str]) -> dict[str, TaskStatus | None]:
        """Which of these tasks have ended, read now; None: it has no record. Raises QueueError."""
        found: dict[str, TaskStatus | None] = {}
        for start in range(0, len(task_ids), READ_AT_ONCE):
            found |= await self._read_ended(task_ids[start : start + READ_AT_ONCE])
        return found

    async def types(self, task_ids: Sequence[str]) -> list[str | None]:
        """The types of these tasks; None for one without a record. Raises QueueError."""
        replies = await self._link.call_together(
            [("HGET", self._keys.task(task_id), "t") for task_id in task_ids]
        )
        return [reply.decode() if isinstance(reply, bytes) else None for reply in replies]

    async def close(self) -> None:
        """End the subscription. Whoever still waits hears nothing more."""
        tasks = self._tasks
        self._stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self) -> None:
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._read())]

    def _stop_if_unused(self) -> None:
        if not self._waiting and not self._listeners:
            self._stop()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        self._unread.clear()
        self._subscribed = False

    def _read_again(self, task_ids: Iterable[str]) -> None:
        self._unread.update(task_ids)
        self._some_unread.set()

    def _tell(self, task_id: str, status: TaskStatus | None) -> None:
        for waiting in self._waiting.pop(task_id, ()):
            waiting.tell(task_id, status)

    # What is published

    async def _hear(self) -> None:
        """Stay subscribed, with a new connection after each that is lost or misses something."""
        while True:
            with contextlib.suppress(QueueError, OSError):
                async with self._installation.subscription(self._keys.ends) as pubsub:
                    await self._follow(pubsub)
            self._note_gap()
            self._subscribed = False
            await asyncio.sleep(self._compare_seconds)

    async def _follow(self, pubsub: PubSub) -> None:
        """Hear what is published; returns when something was missed that no message tells of."""
        published = self._seen = await self._number()
        self._subscribed = True
        for listener in self._listeners:
            listener.since = listener.number = published
        self._read_again(self._waiting)
        compare_at = time.monotonic() + self._compare_seconds
        while True:
            left = compare_at - time.monotonic()
            message = await pubsub.get_message(timeout=max(0.0, left))
            if message is not None:
                self._on_message(message["data"].decode())
            if left <= 0:
                before = self._seen
                number = await self._number()
                # What had been published a second ago must have come by now; and a number that
                # went back counts from another beginning: Redis lost its data.
                if before < published or number < before:
                    return
                published = number
                compare_at = time.monotonic() + self._compare_seconds

    def _on_message(self, text: str) -> None:
        first, *words = text.split(" ")
        number = int(first)
        if number > self._seen + 1:
            self._note_gap()
            self._read_again(self._waiting)
        self._seen = max(self._seen, number)
        status: TaskStatus | None = None
        for word in words:
            if word in FINAL:
                status = TaskStatus(word)
                continue
            if word in self._waiting:
                self._tell(word, status)
            if status is not None:
                for listener in self._listeners:
                    listener.hear(word, status)
        for listener in self._listeners:
            listener.number = number

    def _note_gap(self) -> None:
        self.gaps += 1
        for listener in self._listeners:
            listener.missed = True

    async def _number(self) -> int:
        """The number of the last message, as Redis counts."""
        return int(await self._link.call("HGET", self._keys.meta, "ends") or 0)

    # What is read

    async def _read(self) -> None:
        """Read the records of what may have ended unheard, and of everything now and then."""
        all_read_at = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._compare_seconds):
                    await self._some_unread.wait()
            self._some_unread.clear()
            now = time.monotonic()
            if not self._subscribed or now - all_read_at >= self._reread_seconds:
                self._unread.update(self._waiting)
                all_read_at = now
            with contextlib.suppress(QueueError):
                await self._read_unread()

    async def _read_unread(self) -> None:
        while self._unread:
            chunk = list(self._unread)[:READ_AT_ONCE]
            ended = await self._read_ended(chunk)
            self._unread.difference_update(chunk)
            for task_id, status in ended.items():
                self._tell(task_id, status)

    async def _read_ended(self, task_ids: Sequence[str]) -> dict[str, TaskStatus | None]:
        replies = await self._link.call_together(
            [("HGET", self._keys.task(task_id), "s") for task_id in task_ids]
        )
        ended: dict[str, TaskStatus | None] = {}
        for task_id, reply in zip(task_ids, replies, strict=True):
            if isinstance(reply, QueueError) and not isinstance(reply, ReplyError):
                raise reply
            if reply in _FINAL:
                ended[task_id] = _FINAL[reply]
            elif reply is None or isinstance(reply, ReplyError):  # nothing, or no record
                ended[task_id] = None
        return ended

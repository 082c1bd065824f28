"""What live streams tell: one task's state, and of all queues what happens in each second."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from headrace.contract import EndsEvent, GapEvent, TaskEnd
from headrace.taskqueue import QueueError, TaskNotFound
from headrace_api.http.sse import event
from headrace_api.tasks.replies import stats_reply, task_fields, task_reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from headrace.taskqueue import EndWatch, Listener, Stats, Task, TaskQueue, TaskStatus
    from headrace_api.tasks.sight import Sight

TICK_SECONDS = 1.0

MAX_ENDS = 500
"""So many ends of a second are sent one by one; how many more there were is told."""


def state_id(task: Task) -> str:
    """The id of the event that tells of this state: another one once there is more to tell."""
    progress = f"{task.progress_percent} {task.progress_message}".encode()
    asked = "!" if task.cancel_requested else ""
    return f"{task.status}-{task.attempt}{asked}-{zlib.crc32(progress):08x}"


async def task_events(
    queue: TaskQueue, watch: EndWatch, task: Task, seen: str | None, sight: Sight
) -> AsyncGenerator[bytes]:
    """A task's state and progress as they change, and its end. `seen`: the last event's id."""
    last_state: tuple[object, ...] = ()
    progress: tuple[object, ...] = (None, None)
    with watch.waiting([task.id]) as waiter:
        while True:
            current = state_id(task)
            sent = b""
            if task.status.final:
                task = await queue.get(task.id)
                reply = task_reply(task, None, sight).model_dump_json().encode()
                yield event("end", reply, current)
                return
            state = (task.status, task.attempt, task.cancel_requested)
            reached = (task.progress_percent, task.progress_message)
            if current != seen:
                if state != last_state:
                    reply = task_reply(task, None, sight).model_dump_json().encode()
                    sent += event("state", reply, current)
                if reached != progress and task.progress_percent is not None:
                    fields = msgspec.json.encode(task_fields(task, None)["progress"].model_dump())
                    sent += event("progress", fields, current)
                seen = current
            last_state, progress = state, reached
            yield sent
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await waiter.next()
            try:
                task = await queue.outline(task.id)
            except TaskNotFound:
                return
            except QueueError:
                continue  # Redis is away: what is known stays


@dataclass(frozen=True)
class Tick:
    """What a second brought."""

    stats: bytes
    """The event."""
    ends: list[TaskEnd]
    more: int
    """Ends beyond those."""
    since: int
    number: int
    """The numbers of the last message that told of ends, before this tick and now."""
    missed: bool
    """Some ends were not heard."""


class LiveFeed:
    """Makes a tick each second, once for all streams, only while there are any."""

    def __init__(self, watch: EndWatch, stats: Callable[[], bytes]) -> None:
        self._watch = watch
        self._stats = stats
        self._streams: set[asyncio.Queue[Tick]] = set()
        self._task: asyncio.Task[None] | None = None

    async def events(
        self, types: frozenset[str], statuses: frozenset[TaskStatus], seen: str | None
    ) -> AsyncGenerator[bytes]:
        """The stats of each second, and the ends of tasks that fit; empty: all do."""
        ticks: asyncio.Queue[Tick] = asyncio.Queue(maxsize=10)
        self._streams.add(ticks)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        first = True
        try:
            while True:
                tick = await ticks.get()
                sent = tick.stats
                if tick.missed or (first and seen is not None and seen != str(tick.since)):
                    gap = GapEvent(after=seen).model_dump_json().encode()
                    sent += event("gap", gap, str(tick.number))
                first = False
                seen = str(tick.number)
                ends = [
                    end
                    for end in tick.ends
                    if (not types or end.type in types) and (not statuses or end.status in statuses)
                ]
                if ends or tick.more:
                    found = EndsEvent(ends=ends, more=tick.more).model_dump_json().encode()
                    sent += event("ends", found, seen)
                yield sent
        finally:
            self._streams.discard(ticks)
            if not self._streams and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        with self._watch.listening() as listener:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                tick = await self._tick(listener)
                for stream in self._streams:
                    if stream.full():  # its client does not read: it misses the oldest
                        stream.get_nowait()
                    stream.put_nowait(tick)

    async def _tick(self, listener: Listener) -> Tick:
        missed, since, number = listener.missed, listener.since, listener.number
        heard = listener.take()
        first = heard[:MAX_ENDS]
        types: list[str | None] = []
        with contextlib.suppress(QueueError):
            types = await self._watch.types([task_id for task_id, _ in first])
        missed = missed or len(types) < len(first)
        ends = [
            TaskEnd(task_id=task_id, type=task_type, status=status)
            for (task_id, status), task_type in zip(first, types, strict=False)
            if task_type is not None
        ]
        return Tick(self._stats(), ends, len(heard) - len(first), since, number, missed)


def stats_event(stats: Stats | None, names: tuple[str, ...]) -> bytes:
    """The stats as an event; without a reading, that Redis is away."""
    if stats is None:
        return event("unavailable", b"{}")
    return event("stats", stats_reply(stats, names).model_dump_json().encode())

"""A handler's context: what it knows of its task, and what it may ask for while it runs."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, overload

import msgspec
import structlog

from headrace.handlers.children import ChildEnd, ended_children
from headrace.handlers.outcomes import journal_fault, state_fault
from headrace.handlers.results import encode_result

T = TypeVar("T")
P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)

Lifespan = Callable[[], AbstractAsyncContextManager[T]]
"""What a process opens before its first attempt and closes after its last: a database pool."""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_making_event = threading.Lock()


class CancelSignal:
    """Set once, when the attempt has to stop: cancelled, out of time, or its worker ends.

    An async handler need not look at it, for it is cancelled as asyncio tasks are. A sync one runs
    in a thread, which nobody can stop from outside: it should look now and then, or wait by it.
    """

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: threading.Event | None = None

    def __bool__(self) -> bool:
        """Whether the attempt has to stop: `if ctx.cancelled: return`."""
        return self._set

    def is_set(self) -> bool:
        """Whether the attempt is to stop."""
        return self._set

    def set(self) -> None:
        """Ask the attempt to stop. From any thread; a second time changes nothing."""
        self._set = True
        with _making_event:
            event = self._event
        if event is not None:
            event.set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Sleep until it is set, or the time is over; returns whether it is set. For sync code."""
        with _making_event:
            # Made only here: it costs more than all the rest of a context, and few need it.
            event = self._event or threading.Event()
            self._event = event
        if self._set:
            event.set()
        return event.wait(timeout_seconds)


class FurtherTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that a handler submits."""

    id: str
    type: str
    payload: bytes
    """A JSON document."""
    max_retries: int | None
    """None: as its task type has it."""
    start_at: datetime | None
    """Not before this time; None: at once."""
    headers: dict[str, str] = {}
    child: bool = False
    """Its end wakes the task that submits it."""


class Submittable(Protocol[P_contra]):
    """A task type, as `Context.submit` sees it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def max_retries(self) -> int:
        """How often a failed task is retried."""

    def encode_payload(self, payload: P_contra) -> bytes:
        """The payload as JSON. Raises PayloadInvalid for what its handler would refuse."""


class Host(Protocol):
    """What a context calls: the worker that runs the handler, or an API's inline run."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which its coroutines run."""

    @property
    def values(self) -> Mapping[Any, Any]:
        """What each lifespan of this process has yielded."""

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        """Take note of a task's progress. Called from any thread; never blocks."""

    async def checkpoint(self, ctx: Context, state: bytes, entries: Sequence[bytes]) -> None:
        """Keep `state` under the task, and `entries` for its journal."""

    async def append(self, ctx: Context, entries: Sequence[bytes]) -> None:
        """Append to the task's journal, which is `ctx.journal` so far."""

    async def submit(self, ctx: Context, task: FurtherTask) -> None:
        """Submit a task of the handler's; one of its id that is there already is not an error.

        Raises:
            SubmitFailed: the queue does not take it.
        """

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        """How a child of the task ended. Raises LookupError."""

    async def cancel_child(self, ctx: Context, task_id: str) -> None:
        """Cancel a child of the task. Raises LookupError."""


class Context:
    """A handler's first argument. One is made for each attempt."""

    __slots__ = (
        "_deadline",
        "_host",
        "_log",
        "_submits",
        "attempt",
        "can_park",
        "cancelled",
        "depth",
        "generation",
        "headers",
        "inbox",
        "journal",
        "state",
        "task_id",
        "task_type",
    )

    def __init__(
        self,
        task_id: str,
        task_type: str,
        host: Host,
        *,
        attempt: int = 1,
        state: bytes | None = None,
        can_park: bool = False,
        headers: Mapping[str, str] = NO_HEADERS,
        inbox: Sequence[bytes] = (),
        journal: Sequence[bytes] = (),
        depth: int = 0,
        generation: int = 0,
    ) -> None:
        self.task_id = task_id
        self.task_type = task_type
        self.attempt = attempt
        """From 1. More than 1: earlier attempts failed or crashed, and may have had effects."""
        self.state = state
        """The bytes of the last `Park` or checkpoint of this task; None on a fresh start."""
        self.can_park = can_park
        """Whether the handler may return a `Park`. It may not in a run inside a request."""
        self.headers = headers
        """What was submitted beside the payload: `traceparent`, and whatever a caller added."""
        self.inbox = inbox
        """What was put into the task's inbox since it last parked, in order. An item that comes
        meanwhile is in the next attempt's."""
        self.journal = journal
        """What was appended since the state was last written, by this attempt and by earlier ones,
        in order."""
        self.depth = depth
        """How many parents, their parents and so on the task has."""
        self.generation = generation
        """How often the task was retried by hand. Its earlier children are not its own any more."""
        self.cancelled = CancelSignal()
        self._host = host
        self._submits = 0
        self._deadline: float | None = None
        self._log: Any = None

    @property
    def deadline(self) -> datetime | None:
        """When the attempt runs out of time, in UTC; None: the task type has no time-out."""
        return None if self._deadline is None else datetime.fromtimestamp(self._deadline, UTC)

    def set_deadline(self, timestamp: float) -> None:
        """Told by what runs the attempt: seconds since 1970."""
        self._deadline = timestamp

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger whose lines have the task's id, its type and the attempt."""
        if self._log is None:
            self._log = structlog.get_logger("headrace.handler").bind(
                task_id=self.task_id, type=self.task_type, attempt=self.attempt
            )
        return self._log  # type: ignore[no-any-return]

    def progress(self, percent: float, message: str | None = None) -> None:
        """Show in the task's record how far the task is.

        Cheap, never blocks, may be called from any thread and as often as one likes: what comes
        too fast is thinned out, the last word counts. `percent` is held to 0-100; of the message
        200 characters are kept, for it is for people to glance at.
        """
        text = None if message is None else str(message)
        self._host.progress(self, min(100.0, max(0.0, float(percent))), text)

    async def checkpoint(self, state: bytes, entries: Sequence[bytes] = ()) -> None:
        """Store bytes with the task: the `state` of the next attempt, if its worker crashes.

        They take the place of the state and the journal that were there; a new journal begins with
        `entries`. Returns once they are stored; waits while Redis is away. For async handlers.

        Raises:
            ValueError: `state` is not bytes, or over the limit of 16 MiB; see also `append`.
        """
        fault = state_fault(state) or journal_fault((), entries)
        if fault is not None:
            raise ValueError(f"this checkpoint {fault}")
        await self._host.checkpoint(self, state, entries)
        self.state = state
        self.journal = tuple(entries)
        self._submits = 0

    async def append(self, entries: Sequence[bytes]) -> None:
        """Append to the task's journal: the next attempt finds all entries in `ctx.journal`.

        Cheaper than a checkpoint where the state grows: what is there is not written again. The
        next checkpoint, or `Park` with a state, empties the journal. Returns once the entries are
        stored; waits while Redis is away, and while a worker of 0.2.0 lives, which could not read
        them. Without entries it waits for that alone. For async handlers, one call at a time.

        Raises:
            ValueError: an entry is not bytes, or the journal would be over its limits: 16 MiB and
                10,000 entries.
        """
        fault = journal_fault(self.journal, entries)
        if fault is not None:
            raise ValueError(f"this append {fault}")
        await self._host.append(self, entries)
        self.journal = (*self.journal, *entries)
        self._submits = 0

    def value(self, lifespan: Lifespan[T]) -> T:
        """What a lifespan of this process yielded, such as a database pool.

        `lifespan` is the function itself: `ctx.value(database).execute(…)`.

        Raises:
            LookupError: no installed package names it in the group `headrace.lifespan`.
        """
        try:
            return self._host.values[lifespan]  # type: ignore[no-any-return]
        except KeyError:
            name = getattr(lifespan, "__name__", repr(lifespan))
            raise LookupError(
                f"the lifespan {name!r} was not entered in this process: name it in the entry "
                "points of your package, in the group headrace.lifespan"
            ) from None

    @overload
    async def submit(
        self,
        task_type: Submittable[P],
        payload: P,
        *,
        key: str | None = None,
        max_retries: int | None = None,
        start_at: datetime | None = None,
        start_in: timedelta | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        child: bool = False,
    ) -> str: ...

    @overload
    async def submit(
        self,
        task_type: str,
        payload: Any,
        *,
        key: str | None = None,
        max_retries: int | None = None,
        start_at: datetime | None = None,
        start_in: timedelta | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        child: bool = False,
    ) -> str: ...

    async def submit(
        self,
        task_type: Submittable[Any] | str,
        payload: Any,
        *,
        key: str | None = None,
        max_retries: int | None = None,
        start_at: datetime | None = None,
        start_in: timedelta | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        child: bool = False,
    ) -> str:
        """Submit a further task, and return its id. A plain `def` calls it by `ctx.wait`.

        A second attempt makes no second task: the id is made of this task's id, of the state and
        the journal that the attempt goes on from, and of how many submits came before it since. A
        handler that submits in another order at each attempt, or parks again with the same state,
        says by `key` which is which.

        Args:
            task_type: a function decorated with `@handler`, or the name of a task type.
            payload: what that handler takes; for a name, anything that can be written as JSON.
            key: identifies this submit among those of this task.
            max_retries: None: as the task type has it.
            start_at: not before this time.
            start_in: not before so long from now.
            headers: what its handler finds in `ctx.headers`; pass `ctx.headers` on to keep a trace.
            child: its end puts an item into this task's inbox, and so wakes a `Park` with
                `wake_on="inbox"`; if this task is cancelled, so is the child. Waits while a worker
                of 0.2.0 lives. A run inside a request runs it in place.

        Raises:
            PayloadInvalid: the handler would refuse this payload.
            SubmitFailed: the queue is full, the child would be too deep, or this is a run inside a
                request while Redis is away.
            ValueError: the payload cannot be written as JSON, or a start time has no time zone.
        """
        if isinstance(task_type, str):
            name, encoded = task_type, encode_result(payload)
        else:
            name, encoded = task_type.name, task_type.encode_payload(payload)
            max_retries = task_type.max_retries if max_retries is None else max_retries
        if start_in is not None:
            start_at = datetime.now(UTC) + start_in
        if start_at is not None and start_at.tzinfo is None:
            raise ValueError("start_at needs a time zone: datetime.now(UTC) + timedelta(minutes=5)")
        task = FurtherTask(
            id=self._next_id(key, child=child),
            type=name,
            payload=encoded,
            max_retries=max_retries,
            start_at=start_at,
            headers=dict(headers),
            child=child,
        )
        await self.pass_on(task)
        return task.id

    async def pass_on(self, task: FurtherTask) -> None:
        """Submit a task as it is. Raises SubmitFailed. For what runs handlers, not for handlers."""
        await self._host.submit(self, task)

    async def child(self, task_id: str) -> ChildEnd | None:
        """How a child of this task ended; None: it has not. Waits while Redis is away.

        Raises:
            LookupError: this task has no such child, or the child's retention is over.
        """
        return await self._host.child(self, task_id)

    async def cancel_child(self, task_id: str) -> None:
        """Cancel a child of this task, or ask it to stop if it runs. One that has ended stays so.

        Raises LookupError as `child` does.
        """
        await self._host.cancel_child(self, task_id)

    @property
    def ended_children(self) -> list[str]:
        """The ids of the children that the inbox says have ended since the task last parked."""
        return ended_children(self.inbox)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """For a plain `def` handler: run a coroutine, and wait for its result.

        `ctx.wait(ctx.submit(resize, Resize(url=…)))`, `ctx.wait(ctx.checkpoint(b"…"))`.

        Raises:
            RuntimeError: called from an `async def` handler, which writes `await` instead.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(work, self._host.loop).result()
        work.close()
        raise RuntimeError("ctx.wait() would block the event loop: write `await` instead")

    def _next_id(self, key: str | None, *, child: bool) -> str:
        """See `submit`. The same attempt, repeated from the same state, draws the same ids."""
        if key is None:
            since = "" if self.state is None else hashlib.sha256(self.state).hexdigest()
            if self.journal:
                since += f"+{len(self.journal)}"
            key = f"{since}:{self._submits}"
            self._submits += 1
        else:
            key = f"key:{key}"
        if child and self.generation:
            key = f"{self.generation}:{key}"
        return str(uuid.uuid5(uuid.UUID(self.task_id), key))

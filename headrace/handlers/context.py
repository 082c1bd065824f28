"""What a handler is told about its task, and what it may ask for while it runs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from headrace.handlers.outcomes import state_fault

_making_event = threading.Lock()


class CancelSignal:
    """Set once, when the attempt is to stop: cancelled, out of time, or its worker goes away.

    An async handler need not look at it, for it is cancelled as asyncio tasks are. A sync one runs
    in a thread, which nobody can stop from outside: it should look now and then, or wait by it.
    """

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: threading.Event | None = None

    def __bool__(self) -> bool:
        """Whether the attempt is to stop: `if ctx.cancelled: return`."""
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
        """Sleep until the signal or the time-out; whether it is set. For sync handlers."""
        with _making_event:
            # Made only here: it costs more than all the rest of a context, and few need it.
            event = self._event or threading.Event()
            self._event = event
        if self._set:
            event.set()
        return event.wait(timeout_seconds)


class Host(Protocol):
    """What runs a handler and answers for its context: a worker, or an API's inline run."""

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        """Take note of a task's progress. Called from any thread; never blocks."""

    async def checkpoint(self, ctx: Context, state: bytes) -> None:
        """Keep `state` under the task."""


class Context:
    """A handler's first argument. One is made for each attempt."""

    __slots__ = (
        "_deadline",
        "_host",
        "_log",
        "attempt",
        "can_park",
        "cancelled",
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
    ) -> None:
        self.task_id = task_id
        self.task_type = task_type
        self.attempt = attempt
        """From 1. More than 1: earlier attempts failed or crashed, and may have had effects."""
        self.state = state
        """What the last `Park` or checkpoint of this task kept; None on a fresh start."""
        self.can_park = can_park
        """Whether returning a `Park` is possible here. It is not in a run inside a request."""
        self.cancelled = CancelSignal()
        self._host = host
        self._deadline: float | None = None
        self._log: Any = None

    @property
    def deadline(self) -> datetime | None:
        """When the time-out strikes, in UTC; None: the task type has none."""
        return None if self._deadline is None else datetime.fromtimestamp(self._deadline, UTC)

    def set_deadline(self, timestamp: float) -> None:
        """Told by what runs the attempt: seconds since 1970."""
        self._deadline = timestamp

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger whose lines carry the task's id, its type and the attempt."""
        if self._log is None:
            self._log = structlog.get_logger("headrace.handler").bind(
                task_id=self.task_id, type=self.task_type, attempt=self.attempt
            )
        return self._log  # type: ignore[no-any-return]

    def progress(self, percent: float, message: str | None = None) -> None:
        """Show in the task's record how far it is.

        Cheap, never blocks, may be called from any thread and as often as one likes: what comes
        too fast is thinned out, the last word counts. `percent` is held to 0-100; of the message
        200 characters are kept, for it is for people to glance at.
        """
        text = None if message is None else str(message)
        self._host.progress(self, min(100.0, max(0.0, float(percent))), text)

    async def checkpoint(self, state: bytes) -> None:
        """Keep bytes under the task: should its worker crash, the next attempt's `state`.

        Returns once they are stored; waits while Redis is away. For async handlers.

        Raises:
            ValueError: `state` is not bytes, or over the limit of 16 MiB.
        """
        fault = state_fault(state)
        if fault is not None:
            raise ValueError(f"this checkpoint {fault}")
        await self._host.checkpoint(self, state)
        self.state = state

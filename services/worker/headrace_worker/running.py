"""The worker's attempts: those that hold a lease, and those that hold a slot."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from headrace.handlers import (
    NO_HEADERS,
    Attempt,
    Context,
    Host,
    Raised,
    Resources,
    Stopped,
    StopReason,
    TaskType,
)
from headrace.taskqueue import (
    NO_OPTIONS,
    ClaimedTask,
    Options,
    Released,
    RunningTask,
    Settlement,
    TaskStatus,
    unpack_options,
)
from headrace_worker import journal
from headrace_worker.ahead import LONGEST_WAIT_SECONDS, Pace
from headrace_worker.settling import settlement_for

SLOW_SECONDS = 0.3
"""A third of the shortest lease is 0.33 s."""
SLOW_KEPT = 16


class Running(Attempt):
    """An attempt of a claimed task."""

    __slots__ = ("claimed", "settlement", "started_at_ms")

    def __init__(
        self,
        claimed: ClaimedTask,
        task_type: TaskType[Any, Any],
        ctx: Context,
        on_outcome: Callable[[Attempt], None],
        on_gone: Callable[[Attempt], None],
        resources: Resources,
    ) -> None:
        super().__init__(
            task_type,
            ctx,
            on_outcome=on_outcome,
            on_gone=on_gone,
            resources=resources,
        )
        self.claimed = claimed
        self.started_at_ms = int(time.time() * 1000)
        """When the attempt began; until then, when its task was claimed."""
        self.settlement: Settlement | None = None
        """How it ended, as the queue is told; None until then."""

    @property
    def age_ms(self) -> int:
        """How long ago the attempt began."""
        return int(time.time() * 1000) - self.started_at_ms

    def remember_children(self) -> None:
        """It has submitted one: should Redis lose its data, ends of children still wake it."""
        if not self.claimed.has_children:
            self.claimed = msgspec.structs.replace(self.claimed, has_children=True)

    def remember(self, state: bytes | None, journal: Sequence[bytes]) -> None:
        """Keep what is stored: should Redis lose its data, it is put back with the task."""
        self.claimed = msgspec.structs.replace(self.claimed, state=state, journal=tuple(journal))


class Hand:
    """All that a worker has in hand. Changed by the event loop, read by other threads too.

    Copying a set is one step for the interpreter, so that readers in other threads see a state
    that was true at some moment.

    Args:
        types: the task types that it can run, by name.
        resources: what all attempts share.
        log_payloads: whether payloads and results are logged.
        pace: told of how long each attempt took.
        ended: called with each attempt that is to be reported (its `settlement` is set).
        changed: called when a slot or a lease has become free.
    """

    def __init__(
        self,
        types: Mapping[str, TaskType[Any, Any]],
        resources: Resources,
        *,
        log_payloads: bool,
        pace: Pace,
        ended: Callable[[Running], None],
        changed: Callable[[], None],
    ) -> None:
        self.held: set[Running] = set()
        """Claimed, and the end not yet accepted by the queue."""
        self.slots: set[Running] = set()
        """Code of theirs runs: also a thread past its time-out, whose lease is given up."""
        self.waiting: deque[Running] = deque()
        """Claimed ahead: held, and each begins when a slot comes free."""
        self.slow: deque[tuple[float, RunningTask]] = deque(maxlen=SLOW_KEPT)
        """Attempts that took long and are gone, with when they went (see stalls.py)."""
        self._types = types
        self._resources = resources
        self._log_payloads = log_payloads
        self._pace = pace
        self._overdue: asyncio.TimerHandle | None = None
        """Ends the waiting of what was claimed ahead."""
        self._ended = ended
        self._changed = changed
        # Made once: a bound method for each task would be made again.
        self._outcome_callback = self._on_outcome
        self._gone_callback = self._on_gone

    # For the event loop

    def begin(self, claimed: ClaimedTask, host: Host) -> Running:
        """Take a claimed task in hand, without running it yet."""
        options = _options(claimed) if claimed.options else NO_OPTIONS
        ctx = Context(
            claimed.id,
            claimed.type,
            host,
            attempt=claimed.attempt,
            state=claimed.state,
            inbox=claimed.inbox,
            journal=claimed.journal,
            depth=options.depth,
            generation=claimed.generation,
            can_park=True,
            headers=options.headers or NO_HEADERS,
        )
        running = Running(
            claimed,
            self._types[claimed.type],
            ctx,
            self._outcome_callback,
            self._gone_callback,
            self._resources,
        )
        self.held.add(running)
        return running

    def run(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        """Run its handler, in a slot."""
        journal.claimed(running.claimed, payloads=self._log_payloads)
        running.started_at_ms = int(time.time() * 1000)
        self.slots.add(running)
        running.start(loop, running.claimed.payload)

    def keep(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        """Keep what was claimed ahead for the next free slot, but not for long."""
        if not self.waiting:
            if self._overdue is not None:
                self._overdue.cancel()
            self._overdue = loop.call_later(LONGEST_WAIT_SECONDS, self.release_waiting)
        self.waiting.append(running)

    def release(self, running: Running) -> None:
        """Hand back a task that was never run."""
        running.settlement = Released(running.claimed)
        self._ended(running)

    def release_waiting(self) -> None:
        """Hand back what was claimed ahead and has not begun."""
        while self.waiting:  # the last first: each goes to the front of its list
            self.release(self.waiting.pop())

    def cancel(self, running: Running) -> None:
        """Somebody wants the task cancelled."""
        if running in self.waiting:
            self.waiting.remove(running)
            self.release(running)  # it ends as it is handed back
        elif running in self.held:
            running.stop(Stopped(StopReason.CANCELLED))

    def settled(self, running: Running, status: TaskStatus | None) -> None:
        """The queue has answered: the task's new status, or None when the lease was lost."""
        self.held.discard(running)
        outcome, settlement = running.outcome, running.settlement
        if status is None or settlement is None:
            journal.lost(running.claimed, running.age_ms)
        else:
            journal.settled(
                running.claimed,
                settlement,
                status,
                exception=outcome.exception if isinstance(outcome, Raised) else None,
                payloads=self._log_payloads,
            )
        if running in self.slots:
            journal.still_running(running.claimed, running.age_ms)

    def lose(self, running: Running) -> None:
        """Somebody else has the task: stop this attempt, and drop what it brings."""
        if running in self.held and running.settlement is None:
            self.held.discard(running)
            journal.lost(running.claimed, running.age_ms)
            if running in self.waiting:
                self.waiting.remove(running)
            else:
                running.stop(Stopped(StopReason.LEASE_LOST))
            self._changed()

    def undecided(self) -> list[Running]:
        """Attempts that still run and whose outcome is open."""
        return [attempt for attempt in self.held if attempt.settlement is None]

    def _on_outcome(self, running: Any) -> None:
        if running in self.held:  # else its lease was lost
            running.settlement = settlement_for(
                running.claimed,
                running.outcome,
                running.seconds,
                running.task_type.backoff,
                random.random,
            )
            self._ended(running)

    def _on_gone(self, running: Any) -> None:
        self.slots.discard(running)
        if running.seconds >= SLOW_SECONDS:
            self.slow.append((time.monotonic(), _as_registered(running)))
        self._pace.ended(running.claimed.type, running.seconds)
        if self.waiting:
            self.run(self.waiting.popleft(), asyncio.get_running_loop())
        self._changed()

    # For every thread

    def held_now(self) -> list[Running]:
        """A copy of `held`."""
        return list(self.held)

    def running_now(self) -> list[RunningTask]:
        """What each slot is busy with, as it stands in the registry."""
        return [_as_registered(attempt) for attempt in list(self.slots)]

    def ran_since(self, seconds: float) -> list[RunningTask]:
        """What has run for the last so many seconds, though it may have ended just now."""
        since = time.monotonic() - seconds
        ended = [task for gone_at, task in list(self.slow) if gone_at >= since]
        # What has ended is held until the queue has heard of it.
        present = [_as_registered(attempt) for attempt in {*self.held_now(), *list(self.slots)}]
        begun_ms = (time.time() - seconds) * 1000
        return [task for task in (*present, *ended) if task.started_at_ms <= begun_ms]

    @property
    def idle(self) -> bool:
        """Nothing is held, and no slot is busy."""
        return not self.held and not self.slots


def _options(claimed: ClaimedTask) -> Options:
    try:
        return unpack_options(claimed.options)
    except ValueError as error:
        journal.unreadable_headers(claimed, error)
        return NO_OPTIONS


def _as_registered(running: Running) -> RunningTask:
    return RunningTask(
        id=running.claimed.id,
        type=running.claimed.type,
        fence=running.claimed.fence,
        attempt=running.claimed.attempt,
        started_at_ms=running.started_at_ms,
        timed_out=running.outcome is not None,
    )


def by_hold(held: list[Running], holds: list[str]) -> list[Running]:
    """The attempts that these holds belong to. There may be two of one task: one is lost then."""
    return [attempt for attempt in held if attempt.claimed.hold in holds] if holds else []

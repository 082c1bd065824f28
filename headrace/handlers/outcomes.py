"""How an attempt ended: what its handler returned or raised, or why it was stopped.

These say nothing about the queue. The worker makes a move of the queue out of them, and an API
that runs a task inside a request makes a reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

import msgspec

from headrace.limits import MAX_JOURNAL_BYTES, MAX_JOURNAL_ENTRIES, MAX_STATE_BYTES

LATEST_UNPARK = datetime(9999, 1, 1, tzinfo=UTC)


class Returned(msgspec.Struct, frozen=True):
    """The handler returned a value."""

    result: bytes
    """The value as a JSON document."""


class Raised(msgspec.Struct, frozen=True):
    """The handler raised an error, ran out of time, or returned what cannot be stored."""

    error: str
    """Type and message, for the task's record."""
    retryable: bool
    """Whether its task type retries this kind of error."""
    exception: BaseException | None = None
    """What was raised, for a log with its traceback. None where that would say nothing more: for a
    `Fatal` without a cause, and what the payload or the result is refused for."""
    error_type: str | None = None
    """The error's class, with its module unless it is Python's own."""
    problem: bytes | None = None
    """The error as a JSON document, if it has one: for the task's parent."""


class StopReason(StrEnum):
    """Why an attempt was ended from outside."""

    CANCELLED = "cancelled"
    """A user asked for it."""
    LEASE_LOST = "lease_lost"
    """Another worker has taken the task over: the result of this attempt is dropped."""
    HANDED_BACK = "handed_back"
    """The process ends before the handler does: another worker has to run the task."""
    UNFIT = "unfit"
    """The same, because this process cannot go on, whatever it runs."""


class Stopped(msgspec.Struct, frozen=True):
    """The attempt was ended from outside, whatever its handler made of that."""

    reason: StopReason


class Park(msgspec.Struct, frozen=True):
    """Returned by a handler to free its slot for a while: the task then continues from `state`.

    Parking uses up no retry. The next attempt's context holds the same bytes as `ctx.state`, and in
    `ctx.inbox` the items that came since. What this attempt found in `ctx.inbox` leaves the inbox.
    A state empties the journal, as a checkpoint does; then `entries` are appended to it.

    Raises:
        ValueError: `unpark_at` has no time zone.
    """

    unpark_at: datetime | None
    """When to go on. An aware datetime: a time that has passed means at once. None: at no time,
    only for what `wake_on` says."""
    state: bytes | None
    """What the handler needs to go on. None: the state and the journal stay as they are."""
    wake_on: Literal["inbox"] | None = None
    """"inbox": go on before that time when an item comes into the task's inbox (`TaskQueue.wake`);
    at once if one has come that is not in `ctx.inbox`. The handler looks what there is: it may go
    on without any."""
    entries: Sequence[bytes] = ()
    """Appended to the journal. If it is the first to have any, and a worker of 0.2.0 lives, which
    could not read them, nothing is kept: the task goes on after 5 s from where this attempt
    began."""

    def __post_init__(self) -> None:
        if self.unpark_at is not None and self.unpark_at.tzinfo is None:
            raise ValueError("Park needs a time zone: datetime.now(UTC) + timedelta(minutes=5)")

    def fault(self, journal: Sequence[bytes] = ()) -> str | None:
        """Why it cannot be kept, as the end of a sentence; None: it can.

        `journal` is what the task has appended so far.
        """
        fault = None
        if self.state is not None:
            journal, fault = (), state_fault(self.state)
        fault = fault or journal_fault(journal, self.entries)
        if fault is not None:
            return fault
        unpark_at: object = self.unpark_at
        if self.wake_on not in (None, "inbox"):
            return f'is to be woken on {self.wake_on!r}: write wake_on="inbox" or leave it out'
        if unpark_at is None and self.wake_on is None:
            return "has neither a time nor wake_on: the task would never go on"
        if unpark_at is None:
            return None
        if not isinstance(unpark_at, datetime) or unpark_at.utcoffset() is None:
            return "has a time that is not a datetime with a time zone"
        if unpark_at > LATEST_UNPARK:
            return f"lies beyond {LATEST_UNPARK:%Y-%m-%d}"
        return None


def state_fault(state: object) -> str | None:
    """Why a state cannot be kept, as the end of a sentence; None: it can."""
    if not isinstance(state, bytes):
        return f"carries a {type(state).__name__} for its state: it must be bytes"
    if len(state) > MAX_STATE_BYTES:
        return (
            f"carries a state of {len(state)} bytes, the limit is {MAX_STATE_BYTES}: "
            "store the data elsewhere and keep a reference"
        )
    return None


def journal_fault(before: Sequence[bytes], entries: Sequence[object]) -> str | None:
    """Why entries cannot be appended to a journal, as the end of a sentence; None: they can."""
    size = sum(map(len, before))
    for entry in entries:
        if not isinstance(entry, bytes):
            return f"has a {type(entry).__name__} among its entries: each must be bytes"
        size += len(entry)
    for kind, found, limit in (
        ("bytes", size, MAX_JOURNAL_BYTES),
        ("entries", len(before) + len(entries), MAX_JOURNAL_ENTRIES),
    ):
        if found > limit:
            return (
                f"makes the task's journal {found} {kind} long, the limit is {limit}: "
                "write a checkpoint now and then, which empties it"
            )
    return None


Outcome = Returned | Raised | Stopped | Park
"""The four ways in which an attempt ends."""

"""What the queue is told of how an attempt ended: the argument of `Consumer.settle`."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from headrace.taskqueue.task import ClaimedTask


class Completed(msgspec.Struct, frozen=True):
    """It ended with a result, a JSON document."""

    task: ClaimedTask
    result: bytes
    run_ms: int


class Failed(msgspec.Struct, frozen=True):
    """It ended with an error. `retry_delay_ms` None: not to be retried, whatever retries remain."""

    task: ClaimedTask
    error: str
    retry_delay_ms: int | None
    run_ms: int


class Cancelled(msgspec.Struct, frozen=True):
    """It stopped because it was asked to."""

    task: ClaimedTask
    run_ms: int


class Parked(msgspec.Struct, frozen=True):
    """It goes on at `unpark_at_ms` (since 1970), here or elsewhere, from `state`."""

    task: ClaimedTask
    unpark_at_ms: int
    state: bytes
    run_ms: int


class Released(msgspec.Struct, frozen=True):
    """It is handed back unfinished: it is to run elsewhere.

    That counts as a crash from the 11th time in an hour on, if its attempt began less than 60 s
    before each time. So a task that stops its workers does not stop them all, one after the other.
    """

    task: ClaimedTask
    run_ms: int = 0
    """How long it ran. 0: it never began, or something else than its end is why it is handed back;
    then nothing is counted."""


Settlement: TypeAlias = Completed | Failed | Cancelled | Parked | Released

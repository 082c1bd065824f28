"""How a worker reports the end of an attempt to the queue: the argument of `Consumer.settle`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from headrace.taskqueue.task import ClaimedTask

WakeOn: TypeAlias = Literal["inbox"]


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
    error_type: str | None = None
    """The error's class."""
    traceback: str | None = None
    problem: bytes = b""
    """The error as a JSON document, for the task's parent. Kept if it is the task's last."""


class Cancelled(msgspec.Struct, frozen=True):
    """It stopped because it was asked to."""

    task: ClaimedTask
    run_ms: int


class Parked(msgspec.Struct, frozen=True):
    """It goes on later, here or elsewhere, from `state` and the journal with these `entries`.

    The items that its inbox held when it was claimed leave it. If `wake_on` is "inbox" and another
    one has come since, it is queued at once. While a live worker is too old to wake by an inbox, it
    goes on after 5 s in any case, to look again.
    """

    task: ClaimedTask
    unpark_at_ms: int | None
    """When, since 1970. None: only when it is woken."""
    state: bytes | None
    """None: the state stays as it is, and the journal too."""
    run_ms: int
    wake_on: WakeOn | None = None
    """What it goes on for before that time."""
    entries: Sequence[bytes] = ()
    """While a live worker is too old to read a journal, a park with entries keeps nothing, and the
    task goes on after 5 s from where this attempt began."""


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

"""A worker's heartbeat, for a thread that a busy event loop cannot starve. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace.limits import MAX_CRASHES
from headrace.taskqueue.errors import QueueUnavailable
from headrace.taskqueue.installation import Installation
from headrace.taskqueue.redis.connection import ReplyError
from headrace.taskqueue.replies import script_error
from headrace.taskqueue.scripts import script
from headrace.taskqueue.stats import REGISTRATION_KEPT_SECONDS, RunningTask
from headrace.taskqueue.task import ClaimedTask

MIN_BLOCK_SECONDS = 0.01
"""BLPOP takes 0 for "for ever", and Redis 6.2 takes 0.001 for 0."""


class Damage(msgspec.Struct, frozen=True):
    """Something in Redis that could not be used and was set aside (`damaged` in keys.py)."""

    what: str
    """The key, as `task:<id>`, or where in a key."""
    why: str


class Renewal(msgspec.Struct, frozen=True):
    """What a heartbeat brought."""

    lost: list[str]
    """Holds (ClaimedTask.hold) that are over: another attempt has the task, or it has ended."""
    cancelled: list[str]
    """Holds on tasks that are asked to stop."""
    draining: bool
    drained: bool
    damaged: list[Damage] = []
    """What was set aside in Redis and nobody has logged yet: whoever reads it here is to."""


class Renewer:
    """Renews a worker's leases and registration. Use it from one thread.

    Args:
        installation: where the queue is.
        worker_id: whose leases.
        epoch: the epoch that the worker is registered in, asked for at each renewal.
    """

    def __init__(
        self, installation: Installation, worker_id: str, epoch: Callable[[], str]
    ) -> None:
        self._installation = installation
        self._worker_id = worker_id
        self._epoch = epoch
        self._link = installation.blocking_link()
        self._signals = installation.blocking_link()

    def wait_for_signal(self, timeout_seconds: float) -> bool:
        """Wait until someone wants a heartbeat at once (a cancel, a drain mark), at most so long.

        Never longer than half a lease. Raises QueueUnavailable, at once or after that.
        """
        key = self._installation.keys.signal(self._worker_id)
        longest = self._installation.lease_ms / 2000
        seconds = min(max(timeout_seconds, MIN_BLOCK_SECONDS), longest)
        allowed = seconds + self._installation.timeout_seconds
        return self._signals.call("BLPOP", key, f"{seconds:.3f}", timeout=allowed) is not None

    def renew(
        self,
        held: Sequence[ClaimedTask],
        running: Sequence[RunningTask],
        settled_request: int,
    ) -> Renewal:
        """Renew the leases on what is held, and say what runs.

        Args:
            held: every task claimed and not yet settled. Leases that are not among them are given
                back, if their claim's request is at most `settled_request`.
            running: what each busy slot does, threads past their time-out included.
            settled_request: Consumer.settled_request, read before `held` was.

        Raises EpochChanged, WorkerNotFound (register again), QueueUnavailable.
        """
        name, args = renewal_call(
            self._installation, self._worker_id, self._epoch(), held, running, settled_request
        )
        try:
            return renewal_of(self._run(name, args))
        except QueueUnavailable:
            # Redis may be at its `maxclients`: a connection that only listens gives its place up.
            self._signals.drop()
            raise

    def stalled(self, tasks: Sequence[RunningTask], why: str) -> None:
        """Say why this worker stood still, with the tasks that it ran. Raises as `renew` does.

        Those whose lease ended meanwhile fail, if they fail of it, with this reason.
        """
        args: list[Any] = [
            *(self._worker_id, self._epoch(), self._installation.lease_ms, MAX_CRASHES, why)
        ]
        for task in tasks:
            args.extend((task.id, task.type, task.fence))
        self._run("stalled", args)

    def close(self) -> None:
        """Close the connections."""
        self._link.close()
        self._signals.close()

    def _run(self, name: str, args: Sequence[Any]) -> Any:
        try:
            return self._link.evalsha(script(name), (self._installation.keys.meta,), args)
        except ReplyError as error:
            raise script_error(error, subject=self._worker_id) from None


def renewal_call(
    rules: Installation,
    worker_id: str,
    epoch: str,
    held: Sequence[ClaimedTask],
    running: Sequence[RunningTask],
    settled_request: int,
) -> tuple[str, list[Any]]:
    """The script of a heartbeat, and what it is given."""
    args: list[Any] = [
        *(worker_id, epoch, rules.lease_ms, rules.retention_seconds),
        *(REGISTRATION_KEPT_SECONDS * 1000, settled_request),
        *(len(running), msgspec.json.encode(running)),
    ]
    for task in held:
        args.extend((task.id, task.type, task.fence))
    return "renew", args


def renewal_of(reply: Sequence[Any]) -> Renewal:
    """What the script returned."""
    draining, drained, lost, cancelled, damaged = reply
    return Renewal(
        [hold.decode() for hold in lost],
        [hold.decode() for hold in cancelled],
        bool(draining),
        bool(drained),
        [Damage(*(part.decode("utf-8", "replace") for part in entry)) for entry in damaged],
    )

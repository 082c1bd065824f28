"""Renews the leases, in a thread of its own that a busy or blocked event loop cannot starve."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from headrace.handlers import Backoff
from headrace.logs import get_logger
from headrace.taskqueue import (
    ClaimedTask,
    EpochChanged,
    QueueError,
    Renewal,
    RunningTask,
    WorkerNotFound,
)
from headrace_worker.contact import Contact
from headrace_worker.running import Hand, Running
from headrace_worker.session import BACKOFF
from headrace_worker.stalls import StallWatch

RENEWALS_PER_LEASE = 3
TRIES_PER_LEASE = 15
"""At least so many while Redis is away: after an outage that was too short to be noticed as one
(half a lease), a sixth of the lease is left to renew in."""

JITTER = 0.1
"""Workers started together shall not renew together."""

DRAINING_POLL_SECONDS = 0.2
"""How soon a draining worker that has become idle says so."""

log = get_logger("headrace_worker")


class Renews(Protocol):
    """The queue's side: taskqueue.Renewer."""

    def wait_for_signal(self, timeout_seconds: float) -> bool:
        """Wait until a renewal is wanted at once."""

    def renew(
        self,
        held: Sequence[ClaimedTask],
        running: Sequence[RunningTask],
        settled_request: int,
    ) -> Renewal:
        """Renew the leases of what is held."""

    def stalled(self, tasks: Sequence[RunningTask], why: str) -> None:
        """Say why this worker stood still."""

    def close(self) -> None:
        """Close its connections."""


class Listener(Protocol):
    """The worker, told from this thread."""

    @property
    def settled_request(self) -> int:
        """All claims up to this one are in hand."""

    @property
    def epoch(self) -> str:
        """In which everything held is known to Redis."""

    @property
    def restorations(self) -> int:
        """Odd while what is held is being put back after Redis lost its data."""

    def renewed(self, held: list[Running], renewal: Renewal, restorations: int) -> None:
        """Hear what a renewal brought. Returns at once."""

    def not_renewed(self) -> None:
        """Hear that a renewal failed. Returns at once."""

    def forgotten(self, epoch: str) -> None:
        """Hear that Redis knows this worker no more, in this epoch. Returns at once."""


class RenewalThread(threading.Thread):
    """Renews every third of the lease, and at once when a cancel or a drain mark asks for it."""

    def __init__(
        self,
        renewer: Renews,
        hand: Hand,
        listener: Listener,
        contact: Contact,
        lease_seconds: float,
    ) -> None:
        super().__init__(name="renewal", daemon=True)
        self._renewer = renewer
        self._hand = hand
        self._listener = listener
        self._contact = contact
        self._interval = lease_seconds / RENEWALS_PER_LEASE
        self.backoff = Backoff(
            BACKOFF.base_seconds, min(BACKOFF.cap_seconds, lease_seconds / TRIES_PER_LEASE)
        )
        self._ended = threading.Event()
        self._stalls = StallWatch(hand, lease_seconds, self._ended)
        self._renewing = threading.Lock()
        self._draining = False
        self._drained = False
        self._epoch = ""

    def end(self) -> None:
        """Renew no more. A renewal under way is waited for: it would register the worker again."""
        self._ended.set()
        with self._renewing:
            return

    def run(self) -> None:
        """Renew until told to end, whatever happens."""
        self._stalls.start()
        due, failures, wanted = time.monotonic(), 0, False
        while not self._ended.is_set():
            try:
                if wanted or time.monotonic() >= due:
                    self._renew()
                    due = time.monotonic() + self._interval * random.uniform(1 - JITTER, 1)
                self._tell_of_stalls()
                wanted = (
                    self._renewer.wait_for_signal(self._patience(due)) or self._may_be_drained()
                )
                failures = 0
            except (EpochChanged, WorkerNotFound):
                self._contact.answered("renewal")
                self._listener.forgotten(self._epoch)
                self._ended.wait(BACKOFF.base_seconds)
            except QueueError:
                # Waiting for a signal may fail alone, so the next thing is to renew: that tells.
                wanted = True
                self._ended.wait(self.backoff.delay(failures, random.random))
                failures += 1
            except Exception:
                # Without this thread every task is lost to others: no fault may end it.
                log.exception("worker.renewal_failed")
                self._listener.not_renewed()
                wanted = True
                self._ended.wait(BACKOFF.cap_seconds)
        self._renewer.close()

    def _renew(self) -> None:
        listener = self._listener
        with self._renewing:
            if self._ended.is_set():
                return
            self._epoch, restorations = listener.epoch, listener.restorations
            # In this order: a claim that ends in between is in hand and not among the settled.
            settled_request = listener.settled_request
            held = self._hand.held_now()
            number = self._contact.begin("renew")
            try:
                renewal = self._renewer.renew(
                    [attempt.claimed for attempt in held], self._hand.running_now(), settled_request
                )
            except (EpochChanged, WorkerNotFound):
                raise
            except QueueError as error:
                self._contact.failed("renewal", error)
                listener.not_renewed()
                raise
            finally:
                self._contact.end(number)
        self._contact.answered("renewal")
        self._draining, self._drained = renewal.draining, renewal.drained
        listener.renewed(held, renewal, restorations)

    def _tell_of_stalls(self) -> None:
        """After renewing: a lease that could be renewed has not ended."""
        stalls = self._stalls.waiting
        while stalls:
            self._renewer.stalled(stalls[0].tasks, f"its lease ended while {stalls[0].what}")
            stalls.popleft()

    def _may_be_drained(self) -> bool:
        return self._draining and not self._drained and self._hand.idle

    def _patience(self, due: float) -> float:
        seconds = max(0.01, due - time.monotonic())
        if self._draining and not self._drained:
            return min(seconds, DRAINING_POLL_SECONDS)
        return seconds

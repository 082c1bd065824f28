"""Keeps the leases of the worker's attempts, and acts on what renewals report.

The renewal thread tells this class; all else here runs in the event loop's thread. While that
thread's connection is refused, the leases are renewed over the loop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from headrace.logs import get_logger
from headrace.taskqueue import Consumer, LayoutTooNew, QueueError, Renewal
from headrace_worker.background import Background
from headrace_worker.contact import Contact
from headrace_worker.draining import DrainMark
from headrace_worker.renewal import RenewalThread
from headrace_worker.running import Hand, Running, by_hold
from headrace_worker.session import Session

log = get_logger("headrace_worker")


class Claims(Protocol):
    """The side that claims tasks: the worker's loop."""

    def may_claim(self) -> None:
        """Hear that leases are renewed again."""

    def stop_waiting(self) -> None:
        """Ask for nothing, and give that connection up: another one may need its place."""

    def cut_wait_short(self) -> None:
        """End a wait for tasks, if one is under way."""

    def refuse(self, error: LayoutTooNew) -> None:
        """Redis holds data of a newer version: hand everything back and end."""


class Leases:
    """Made in the event loop.

    Args:
        consumer: the queue's side.
        session: the worker's calls.
        hand: what is held.
        mark: told whether the worker is to drain.
        contact: told of the renewal thread's calls.
        background: runs what is done beside the loop.
        claims: told what concerns claiming.
        lease_seconds: how long a lease holds.
    """

    def __init__(
        self,
        consumer: Consumer,
        session: Session,
        hand: Hand,
        mark: DrainMark,
        contact: Contact,
        background: Background,
        claims: Claims,
        lease_seconds: float,
    ) -> None:
        self.renewed_last = False
        """Whether the last renewal has succeeded: nothing is claimed while they fail."""
        self._loop = asyncio.get_running_loop()
        self._consumer = consumer
        self._session = session
        self._hand = hand
        self._mark = mark
        self._background = background
        self._claims = claims
        self._keeping: asyncio.Task[None] | None = None
        """Renews instead of the renewal thread."""
        self._thread = RenewalThread(consumer.renewer(), hand, self, contact, lease_seconds)

    def start(self) -> None:
        """Start the renewal thread."""
        self._thread.start()

    def end(self) -> None:
        """Renew no more. Waits for a renewal under way: call it in another thread."""
        self._thread.end()

    def join(self, seconds: float) -> None:
        """Wait until the renewal thread has ended, at most so long."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    # For the renewal thread

    @property
    def settled_request(self) -> int:
        """All claims up to this one are in hand."""
        return self._consumer.settled_request

    @property
    def epoch(self) -> str:
        """In which everything held is known to Redis."""
        return self._session.epoch

    @property
    def restorations(self) -> int:
        """Odd while what is held is being put back."""
        return self._session.restorations

    def renewed(self, held: list[Running], renewal: Renewal, restorations: int) -> None:
        """Hear what a renewal brought."""
        self._from_thread(lambda: self._on_renewed(held, renewal, restorations))

    def not_renewed(self) -> None:
        """Hear that a renewal failed."""
        self._from_thread(self._on_not_renewed)

    def forgotten(self, epoch: str) -> None:
        """Hear that Redis knows this worker no more, in this epoch."""
        self._from_thread(lambda: self._background.start(self._restore(epoch)))

    def _from_thread(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _on_renewed(self, held: list[Running], renewal: Renewal, restorations: int) -> None:
        if not self.renewed_last:
            self.renewed_last = True
            self._claims.may_claim()
        self._on_renewal(held, renewal, restorations)

    def _on_not_renewed(self) -> None:
        self.renewed_last = False
        self._claims.stop_waiting()
        if self._keeping is None and self._hand.held:
            self._keeping = self._background.start(self._keep_leases())

    async def _keep_leases(self) -> None:
        """Renew over the loop's connection: the renewal thread's may be refused alone."""
        held, restorations = self._hand.held_now(), self._session.restorations
        # Now, for the call may have to wait: a claim that ends meanwhile is not among `held`.
        settled_request = self.settled_request
        try:
            renewal = await self._session.renew(held, settled_request)
            self._on_renewal(held, renewal, restorations)
        except QueueError:
            return  # Redis is away for both, and the renewal thread goes on trying
        finally:
            self._keeping = None

    def _on_renewal(self, held: list[Running], renewal: Renewal, restorations: int) -> None:
        for damage in renewal.damaged:
            log.warning("redis.damaged", what=damage.what, why=damage.why)
        for attempt in by_hold(held, renewal.cancelled):
            self._hand.cancel(attempt)
        # While leases were being put back, those that were not yet looked as if they were lost.
        if restorations == self._session.restorations and restorations % 2 == 0:
            for attempt in by_hold(held, renewal.lost):
                self._hand.lose(attempt)
        if renewal.draining and not self._mark.holds:
            self._claims.cut_wait_short()
        self._mark.set(renewal.draining)
        if renewal.draining:
            self._hand.release_waiting()

    async def _restore(self, epoch: str) -> None:
        try:
            await self._session.restore(epoch)
        except LayoutTooNew as error:
            self._claims.refuse(error)

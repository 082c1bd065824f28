"""Which operator acts for a resource, when operators of different Leases serve it.

Operators of one Lease take turns by it. Those of two Leases, a cluster-wide one and one of the
namespace, meet in the resource's status alone, where they leave marks:

    operator   who acts; renewed with each status, which is once a minute at least
    standby    who has met that mark and stands back

A mark counts until it has stood unchanged for FRESH_SECONDS of this process's monotonic clock, so
no two clocks have to agree. Only who acts writes the rest of the status: it tells of who stands by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from controller.resource import Body
from controller.status import Status

OPERATOR, STANDBY = "operator", "standby"
FRESH_SECONDS = 150.0
"""Two renewals may be missed."""
RENEW_SECONDS = 60.0


class Claim:
    """What one process knows of the marks on one resource."""

    def __init__(self, lease: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`lease`: this operator's, as namespace/name."""
        self.lease = lease
        self.held = False
        """Whether this operator acts for the resource."""
        self._clock = clock
        self._seen: dict[str, tuple[Mapping[str, Any], float]] = {}
        """Each mark as seen last, and since when it stands so."""
        self._stood_by_at: float | None = None

    def other(self, body: Body, kind: str) -> str | None:
        """The Lease of another operator whose mark of this kind is fresh."""
        mark, now = _mark(body, kind), self._clock()
        seen, since = self._seen.get(kind, ({}, now))
        if mark != seen:
            since = now
        self._seen[kind] = mark, since
        lease: str | None = mark.get("lease")
        return lease if lease != self.lease and now - since < FRESH_SECONDS else None

    def stands(self, body: Body) -> bool:
        """Whether the mark of who acts is of this operator's Lease: there is nothing to take."""
        return _mark(body, OPERATOR).get("lease") == self.lease

    def standby_due(self, body: Body) -> bool:
        """Whether this operator, which stands back, is to say so, again if need be."""
        at = self._stood_by_at
        due = at is None or self._clock() - at >= RENEW_SECONDS or not _mark(body, STANDBY)
        if due:
            self._stood_by_at = self._clock()
        return due

    @property
    def left(self) -> str | None:
        """The kind of mark that this operator has left; None: none."""
        if self.held:
            return OPERATOR
        return None if self._stood_by_at is None else STANDBY

    def mark(self, at: str) -> dict[str, str]:
        """What this operator leaves, at this moment."""
        return {"lease": self.lease, "time": at}

    def renewed(self, status: Status, body: Body, at: str) -> Status:
        """A status to be written, with this operator's mark, and without one that nobody renews."""
        gone = _mark(body, STANDBY) and self.other(body, STANDBY) is None
        rest = {name: value for name, value in status.items() if name != STANDBY}
        return rest | {OPERATOR: self.mark(at)} | ({STANDBY: None} if gone else {})


def _mark(body: Body, kind: str) -> Mapping[str, Any]:
    return (body.get("status") or {}).get(kind) or {}

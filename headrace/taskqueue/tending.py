"""Fenced leases: work on the queue's data that one process at a time does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from headrace.taskqueue.errors import Fenced
from headrace.taskqueue.records import new_id

LEASE_SECONDS = 30.0
"""So long after a process was lost another one takes its work over, at the latest."""

REMOVED_AT_ONCE = 5_000
"""One call removes so many entries of an index, so that others do not wait long for it."""


class FencedLease:
    """A lease on work of this name, taken and renewed by `take`.

    Whatever is done under it is checked in Redis against the fence, in the same step. So a process
    that stood still for longer than its lease can do no harm when it goes on.

    Args:
        run: runs a script of the queue's by its name.
        name: of the work.
        retention_seconds: how long the record of an ended task is kept.
        lease_seconds: how long the lease lasts unless it is taken again.
    """

    def __init__(
        self,
        run: Callable[..., Awaitable[Any]],
        name: str,
        retention_seconds: int,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.name = name
        self.lease_seconds = lease_seconds
        self.fence = 0
        """The number of this holding of the lease; 0: it is not held."""
        self.free_in_seconds = 0.0
        """When the other process's lease ends, unless it is renewed, as `take` found it."""
        self._run = run
        self._holder = new_id()
        self._retention_seconds = retention_seconds

    async def take(self) -> bool:
        """Take the lease or renew it. False: another process holds it.

        Raises as every call of the queue's does; the lease may be held then, or not.
        """
        self.fence, free_in_ms = await self._run(
            "tend", self.name, self._holder, int(self.lease_seconds * 1000), subject=self.name
        )
        self.free_in_seconds = free_in_ms / 1000
        return self.fence > 0

    async def release(self) -> None:
        """Give the lease up, so that another process takes over at once."""
        fence, self.fence = self.fence, 0
        if not fence:
            return
        try:
            await self._run("untend", self.name, self._holder, fence, subject=self.name)
        except Fenced:
            return  # it is another's already

    async def trim_ended(self, most: int, most_in_all: int) -> tuple[int, bool]:
        """Remove the oldest entries from the indexes of ended tasks, at most 5,000 a call.

        Args:
            most: how many a type may have, of completed and of cancelled tasks each.
            most_in_all: how many all types together may have.

        Returns how many were removed, and whether more are to be removed. Raises Fenced when the
        lease is not held any more.
        """
        removed, more = await self.run(
            "trim", self._retention_seconds, most, most_in_all, REMOVED_AT_ONCE
        )
        return removed, bool(more)

    async def run(self, script: str, *args: Any) -> Any:
        """Run a script that begins by looking whether this lease is held. Raises Fenced."""
        holding = (self.name, self._holder, self.fence)
        return await self._run(script, *holding, *args, subject=self.name)

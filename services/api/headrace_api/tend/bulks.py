"""Works on the bulk operations, a slice of each in turn."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from headrace.logs import get_logger
from headrace.taskqueue import DONE_AT_ONCE, FOUND_AT_ONCE, BulkStatus

if TYPE_CHECKING:
    from headrace.taskqueue import Bulk, Bulks, FencedLease

log = get_logger(__name__)

SLICE = 500
"""So many tasks are done before another bulk operation has its turn."""

REST = 3.0
"""After each call it rests for so many times as long as the call took: others use Redis, too."""

ASKED_AGAIN_SECONDS = 1.0
"""How soon a new bulk operation is noticed."""


class BulkWork:
    """A duty of the tend loop's. It needs no worker, and stands in no queue."""

    name = "bulk"

    def __init__(self, bulks: Bulks) -> None:
        self._bulks = bulks
        self._last = ""
        self.every_seconds = 0.0

    async def step(self, lease: FencedLease) -> bool:
        """Do a slice of one; the other duties come before the next."""
        self.every_seconds = ASKED_AGAIN_SECONDS
        active = await self._bulks.active()
        if not active:
            return False
        ids = [bulk.id for bulk in active]
        turn = ids.index(self._last) + 1 if self._last in ids else 0
        bulk = active[turn % len(active)]
        self._last = bulk.id
        done = 0
        while done < SLICE:
            began = time.monotonic()
            if bulk.status is BulkStatus.COLLECTING:
                await self._bulks.collect(lease, bulk)
                bulk = await self._bulks.get(bulk.id)
                done += FOUND_AT_ONCE
            else:
                count = await self._bulks.step(lease, bulk)
                done += count
                if count < DONE_AT_ONCE:
                    break
            await asyncio.sleep(REST * (time.monotonic() - began))
        await self._report(bulk)
        self.every_seconds = 0.0
        return False

    async def _report(self, before: Bulk) -> None:
        bulk = await self._bulks.get(before.id)
        if bulk.status is BulkStatus.COMPLETED:
            log.info(
                "bulk.completed",
                bulk=bulk.id,
                action=bulk.action,
                done=bulk.done,
                failed=bulk.failed,
            )

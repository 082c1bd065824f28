"""Keeps the indexes of ended tasks within their bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.logs import get_logger

if TYPE_CHECKING:
    from headrace.taskqueue import FencedLease

log = get_logger(__name__)


class Trimming:
    """A duty of the tend loop's: the oldest entries leave an index that has too many."""

    name = "trim"
    every_seconds = 10.0

    def __init__(self, most: int, most_in_all: int) -> None:
        self._most = most
        self._most_in_all = most_in_all

    async def step(self, lease: FencedLease) -> bool:
        """Remove some; whether more are to be removed."""
        removed, more = await lease.trim_ended(self._most, self._most_in_all)
        if removed:
            log.debug("tend.trimmed", entries=removed)
        return more

"""A run's journal: entries are appended, and now and then a snapshot takes their place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.limits import MAX_JOURNAL_ENTRIES, MAX_STATE_BYTES
from headrace.workflows.model import Entry
from headrace.workflows.running.environment import Environment
from headrace.workflows.running.state import encode

SNAPSHOT_ENTRIES = 100
"""So many entries since the last snapshot, and a run under way tries another one."""
SMALL_SNAPSHOT_BYTES = 16 * 1024
"""A snapshot up to this size may be longer than the journal that it replaces."""


class Journal:
    """What is stored of a run under way. Entries are added at once, and stored by `write`.

    A snapshot is never longer than the journal that it replaces, or it is small: so all snapshots
    together cost no more than the entries do. Several branches write at once: what they added goes
    in one call, and a snapshot holds all that was added before it.

    Args:
        environment: where it is stored.
        snapshot: makes one; None: not now.
        is_old: whether 0.2.0 could go on with the run: it reads no journal, so until the run is
            too long for it there are only snapshots.
        count: how many entries there are since the last snapshot.
        size: how many bytes these have.
    """

    def __init__(
        self,
        environment: Environment,
        snapshot: Callable[[], bytes | None],
        is_old: Callable[[], bool],
        count: int = 0,
        size: int = 0,
    ) -> None:
        self._environment = environment
        self._snapshot = snapshot
        self._is_old = is_old
        self._count = count
        self._size = size
        self._unwritten: list[bytes] = []
        self._added = 0
        self._stored = 0
        self._last_join = 0
        self._refused_bytes = 0
        self._writing: asyncio.Task[None] | None = None

    def add(self, entry: Entry) -> None:
        """Add an entry. Raises WorkflowError when the journal is over its limit."""
        encoded = encode(entry)
        self._unwritten.append(encoded)
        self._added += 1
        if entry.kind == "join":
            self._last_join = self._added
        self._count += 1
        self._size += len(encoded)
        limits = self._environment.limits
        if self._size > limits.max_journal_bytes:
            limits.exceeded(
                "max_journal_bytes",
                f"the run's journal has {self._size} bytes",
                "let its calls return less, or split the workflow",
                final=True,
            )

    @property
    def owes_join(self) -> bool:
        """Whether a join is not stored yet: no effect may follow it before."""
        return self._stored < self._last_join

    async def write(self) -> None:
        """Return when all that was added before is stored. Raises what the storing raises."""
        wanted = self._added
        while self._stored < wanted:
            if self._writing is None:
                self._writing = asyncio.create_task(self._write())
                self._writing.add_done_callback(_look_at)
            # A branch may be given up in the middle of it: what comes after must not overtake it.
            await asyncio.shield(self._writing)

    async def settle(self) -> None:
        """Wait for what is being written. Raises what the storing raises."""
        if self._writing is not None:
            await self._writing

    async def close(self) -> None:
        """Give up what is being written: the attempt ends."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])

    def last_words(self, *, moved: bool) -> tuple[bytes | None, tuple[bytes, ...]]:
        """What is left to store when the run parks: a snapshot, or else entries.

        `moved`: whether the run stands elsewhere than the last snapshot says.
        """
        snapshot = self._due(parking=True) if moved or self._count else None
        return snapshot, () if snapshot is not None else tuple(self._unwritten)

    async def _write(self) -> None:
        try:
            await self._store()
        finally:
            self._writing = None

    async def _store(self) -> None:
        entries, self._unwritten = self._unwritten, []
        added, count, size = self._added, self._count, self._size
        snapshot = self._due(parking=False)
        if snapshot is None:
            await self._environment.append(entries)
        else:
            await self._environment.checkpoint(snapshot)
            self._count -= count
            self._size -= size
        self._stored = added

    def _due(self, *, parking: bool) -> bytes | None:
        """A snapshot, if it is time for one and it is not too long."""
        is_full = self._is_old() or self._count >= MAX_JOURNAL_ENTRIES // 2
        if not (parking or is_full or self._count >= SNAPSHOT_ENTRIES):
            return None
        if self._size < self._refused_bytes and not is_full:
            return None
        snapshot = self._snapshot()
        if snapshot is None or len(snapshot) > MAX_STATE_BYTES:
            return None
        if is_full or len(snapshot) <= max(self._size, SMALL_SNAPSHOT_BYTES):
            self._refused_bytes = 0
            return snapshot
        self._refused_bytes = len(snapshot)
        return None


def _look_at(task: asyncio.Task[None]) -> None:
    """Who waited for it has its error, if anybody is left."""
    if not task.cancelled():
        task.exception()

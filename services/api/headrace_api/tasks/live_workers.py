"""How many live workers serve each queue, by the probe's last reading: a submit asks no Redis."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headrace.logs import get_logger

if TYPE_CHECKING:
    from headrace.taskqueue import Stats

log = get_logger(__name__)

WAITED_SECONDS = 3.0
"""So long a task waits before its queue is warned of: from zero, a pool needs a moment to start."""


class LiveWorkers:
    """Knows nothing before the first reading, and nothing while Redis is away."""

    def __init__(self) -> None:
        self._counts: Counter[str] | None = None
        self._warned: set[str] = set()

    def note(self, stats: Stats | None) -> None:
        """Take a reading. A queue whose tasks wait for nobody is warned of once, until served."""
        if stats is None:
            self._counts = None
            return
        serving = [worker for worker in stats.workers if not worker.draining]
        self._counts = Counter(queue for worker in serving for queue in worker.queues)
        self._warned.difference_update(self._counts)
        for queue, numbers in stats.queues.items():
            waited = numbers.oldest_age_seconds
            if waited is None or waited < WAITED_SECONDS:
                continue
            if queue not in self._counts and queue not in self._warned:
                self._warned.add(queue)
                log.warning(
                    "queue.no_worker",
                    queue=queue,
                    queue_length=numbers.queue_length,
                    hint="tasks wait and no live worker serves this queue: start one, with "
                    f"`python run_worker.py`, and with {queue} in its QUEUES if that is set",
                )

    def count(self, queue: str) -> int | None:
        """How many serve a queue; None: not known."""
        return None if self._counts is None else self._counts[queue]

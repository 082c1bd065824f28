"""Notices that the interpreter stood still: one call held it, or the process did not run.

A thread cannot run while another one is in a call that keeps the interpreter (its GIL): a long
loop in C, such as a `sum` over a thousand million numbers. Then no lease is renewed either. This
thread sleeps for a short time, again and again, and sees how late it wakes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from headrace.logs import get_logger
from headrace.taskqueue import RunningTask
from headrace_worker.running import Hand

SHARE_OF_LEASE = 3
"""A stall is told of from a third of the lease on: as long as between two renewals."""
LOOKS_PER_LEASE = 12
LONGEST_SLEEP_SECONDS = 1.0
COMPUTING_SHARE = 0.1
"""A call that held the interpreter has used at least so much of a CPU: CPUs may be shared."""
ALL_BUT = 0.9
MOST_WAITING = 100

log = get_logger("headrace_worker")


class Stall(msgspec.Struct, frozen=True):
    """The interpreter stood still."""

    seconds: float
    computing: bool
    """Whether a call kept a CPU busy; else the process did not run."""
    tasks: Sequence[RunningTask]
    """What ran. One of them made that call."""

    @property
    def types(self) -> list[str]:
        """Their types, each once."""
        return sorted({task.type for task in self.tasks})

    @property
    def what(self) -> str:
        """What happened, to go on after "its lease ended while"."""
        if not self.computing:
            return f"its worker's process did not run for {self.seconds:.1f} s"
        call = "a call"
        if self.tasks:
            which = "type" if len(self.types) == 1 else "one of the types"
            call = f"a call of {which} {', '.join(self.types)}"
        return f"{call} held the interpreter for {self.seconds:.1f} s"


class StallWatch(threading.Thread):
    """Looks for stalls and logs each; `waiting` holds those that Redis was not told of yet.

    Args:
        hand: what runs.
        lease_seconds: see `SHARE_OF_LEASE`.
        ended: set when the thread is to end.
        clock: seconds.
        cpu_clock: seconds of CPU that this process has used.
    """

    def __init__(
        self,
        hand: Hand,
        lease_seconds: float,
        ended: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        super().__init__(name="stalls", daemon=True)
        self.waiting: deque[Stall] = deque(maxlen=MOST_WAITING)
        self._hand = hand
        self._least_seconds = lease_seconds / SHARE_OF_LEASE
        self._sleep_seconds = min(LONGEST_SLEEP_SECONDS, lease_seconds / LOOKS_PER_LEASE)
        self._ended = ended
        self._clock = clock
        self._cpu_clock = cpu_clock

    def run(self) -> None:
        """Look until told to end."""
        began, cpu = self._clock(), self._cpu_clock()
        while not self._ended.wait(self._sleep_seconds):
            now, cpu_now = self._clock(), self._cpu_clock()
            late = now - began - self._sleep_seconds
            if late >= self._least_seconds:
                self._note(late, cpu_now - cpu - self._sleep_seconds)
            began, cpu = self._clock(), self._cpu_clock()

    def _note(self, seconds: float, cpu_seconds: float) -> None:
        # Measured a little too long, it would leave out a task that began with the call.
        tasks = self._hand.ran_since(ALL_BUT * seconds)
        stall = Stall(seconds, cpu_seconds >= COMPUTING_SHARE * seconds, tasks)
        self.waiting.append(stall)
        log.warning(
            "worker.stalled",
            seconds=round(seconds, 1),
            types=stall.types,
            reason=f"{stall.what}: nothing else ran in this worker, and no lease was renewed",
        )

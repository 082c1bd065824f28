"""Observations, told shortly, and a pool of workers that does what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.decide import History, decide
from controller.model import (
    Decision,
    Observation,
    Pod,
    Queue,
    Reading,
    Reason,
    Spec,
    Unread,
    Worker,
)

START = 1_800_000_000.0
AWAY = Unread(Reason.STATS_UNAVAILABLE, "HTTP 503")


def worker(number: int, busy: int = 0, **fields: Any) -> Worker:
    """Worker n, in pod n."""
    defaults = {"pod": f"p{number}", "concurrency": 5, "busy_slots": busy}
    return Worker(id=f"w{number}", **{**defaults, **fields})


def seen(
    *workers: Worker,
    queues: Mapping[str, Queue] | None = None,
    replicas: int | None = None,
    pods: tuple[Pod, ...] | None = None,
    at: float = START,
    epoch: str = "e1",
    **fields: Any,
) -> Observation:
    """A reading of these workers, each with its pod."""
    names = [worker.pod for worker in workers if worker.pod]
    return Observation(
        reading=Reading(at=at, epoch=epoch, queues=queues or {}, workers=workers),
        at=START,
        replicas=len(workers) if replicas is None else replicas,
        pods=tuple(Pod(name, started=True) for name in names) if pods is None else pods,
        **fields,
    )


class Pool:
    """Workers whose operator decides each second. What they run is set by the test."""

    def __init__(self, spec: Spec, replicas: int = 0) -> None:
        self.spec = spec
        self.now = START
        self.wall_ahead = 0.0
        """By how much the wall clock, the operator's and Redis's, has been set."""
        self.history = History()
        self.replicas = replicas
        self.busy: dict[int, int] = dict.fromkeys(range(replicas), 0)
        """Worker → its busy slots."""
        self.draining: set[int] = set()
        self.queue = Queue()
        self.epoch = "e1"
        self.away: Unread | None = None
        self.blind = False
        """The reading names no workers."""
        self.decisions: list[Decision] = []
        self._next = replicas

    def workers(self) -> tuple[Worker, ...]:
        """As the stats tell them."""
        return tuple(
            worker(
                number,
                busy,
                draining=number in self.draining,
                drained=number in self.draining and busy == 0,
            )
            for number, busy in self.busy.items()
        )

    def step(self, seconds: int = 1, **fields: Any) -> Decision:
        """Decides, and does it, each second of so many. Returns the last decision."""
        for _ in range(seconds):
            self._second(fields)
        return self.decisions[-1]

    def _second(self, fields: dict[str, Any]) -> None:
        self.now += 1
        workers = self.workers()
        pods = tuple(Pod(f"p{number}", started=True) for number in self.busy)
        reading = self.away or Reading(
            at=self.now + self.wall_ahead,
            epoch=self.epoch,
            queues={"tasks": self.queue},
            workers=() if self.blind else workers,
        )
        observation = Observation(
            reading=reading,
            at=self.now + self.wall_ahead,
            replicas=self.replicas,
            pods=pods,
            **fields,
        )
        decision, self.history = decide(observation, self.history, self.spec, self.now)
        self.decisions.append(decision)
        if not decision.act:
            return
        self.draining |= {int(worker_id[1:]) for worker_id in decision.drain}
        self.draining -= {int(worker_id[1:]) for worker_id in decision.undrain}
        self._scale(decision)

    def _scale(self, decision: Decision) -> None:
        self.replicas = decision.written
        while len(self.busy) < self.replicas:
            self.busy[self._next] = 0
            self._next += 1
        costs = decision.deletion_costs
        cheapest = sorted(self.busy, key=lambda number: costs.get(f"p{number}", 0))
        for number in cheapest[: len(self.busy) - self.replicas]:
            assert self.busy.pop(number) == 0, "a busy worker was taken away"
            self.draining.discard(number)

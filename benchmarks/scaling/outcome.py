"""What came of a run: the figures, and the oracle they are measured by. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.figures import percentile
from benchmarks.scaling.cluster import Cluster
from benchmarks.scaling.loads import Load, Task

TARGET_SECONDS = 30.0
"""The wait that a task's share over the target is counted by: our drainSeconds."""


@dataclass(frozen=True)
class Outcome:
    """The figures of a scaler at a load, over all seeds."""

    p50: float
    p95: float
    p99: float
    over_target: float
    """Share of the tasks that waited longer than TARGET_SECONDS."""
    cost: float
    """Replica-seconds ÷ the oracle's."""
    reversals_per_hour: float
    interrupted: int
    terminated_busy: int
    """Busy workers that were sent SIGTERM."""


def outcome(load: Load, runs: Sequence[tuple[Cluster, float]]) -> Outcome:
    """Of runs and the oracle's replica-seconds for each."""
    waits = sorted(wait for cluster, _ in runs for wait in cluster.waits.values())
    hours = load.horizon * len(runs) / 3600
    return Outcome(
        p50=percentile(waits, 50),
        p95=percentile(waits, 95),
        p99=percentile(waits, 99),
        over_target=sum(wait > TARGET_SECONDS for wait in waits) / len(waits),
        cost=sum(cluster.pod_seconds for cluster, _ in runs) / sum(best for _, best in runs),
        reversals_per_hour=sum(reversals(size for _, size in run.sizes) for run, _ in runs) / hours,
        interrupted=sum(cluster.interrupted for cluster, _ in runs),
        terminated_busy=sum(len(cluster.terminations) for cluster, _ in runs),
    )


def oracle(tasks: Iterable[Task], concurrency: int, max_replicas: int) -> float:
    """Replica-seconds of somebody who knows the future.

    Its workers are ready when a task comes and gone when their last one ends, and tasks share as
    few of them as they can: ⌈busy slots ÷ c⌉ at each moment, never more than the maximum.
    """
    free = [0.0] * (concurrency * max_replicas)
    changes: list[tuple[float, int]] = []
    for task in tasks:
        start = max(task.at, heapq.heappop(free))
        heapq.heappush(free, start + task.seconds)
        changes += [(start, 1), (start + task.seconds, -1)]
    total, busy, since = 0.0, 0, 0.0
    for at, change in sorted(changes):
        total += (at - since) * -(-busy // concurrency)
        since, busy = at, busy + change
    return total


def reversals(sizes: Iterable[int]) -> int:
    """How often a size that grew then shrank, or the other way round."""
    count, direction, before = 0, 0, None
    for size in sizes:
        if before is not None and size != before:
            turn = 1 if size > before else -1
            count += direction == -turn
            direction = turn
        before = size
    return count

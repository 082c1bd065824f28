"""Plays every scaler at every load, and through an outage, with fixed seeds and phases."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.scaling.cluster import Cluster, Scaler
from benchmarks.scaling.loads import SEEDS, Load, Task, lognormal
from benchmarks.scaling.ours import Ours
from benchmarks.scaling.outcome import Outcome, oracle, outcome
from benchmarks.scaling.peers import (
    Clock,
    Dask,
    Hpa,
    Knative,
    keda,
    keda_tuned,
    queued,
    queued_and_running,
)
from controller.model import Spec

OURS = "Headrace"
TUNED = "KEDA tuned"

# Phases of the peers' loops: neither their best nor their worst.
_POLL, _SHORT_POLL, _SYNC = Clock(30, 12), Clock(5, 2), Clock(15, 6)

SCALERS: Mapping[str, Callable[[int, int], Scaler]] = {
    OURS: lambda c, most: Ours(Spec(concurrency=c, max_replicas=most)),
    "KEDA": lambda c, most: keda(poll=_POLL, sync=_SYNC),
    TUNED: lambda c, most: keda_tuned(poll=_SHORT_POLL, sync=_SYNC),
    "KEDA tuned, running too": lambda c, most: keda_tuned(
        queued_and_running, poll=_SHORT_POLL, sync=_SYNC
    ),
    "HPA": lambda c, most: Hpa(queued, clock=_SYNC),
    "Knative": lambda c, most: Knative(),
    "dask-kubernetes": lambda c, most: Dask(),
}


@dataclass(frozen=True)
class Through:
    """What a scaler does while Redis is away for three minutes and comes back without its data."""

    before: int
    """Workers when it went away, all of them busy."""
    least: int
    """The smallest size written until two minutes after."""
    terminated_busy: int
    interrupted: int


def at_load(load: Load, scaler: str, seeds: Sequence[int] = SEEDS) -> Outcome:
    """A scaler's figures at a load."""
    runs = []
    for seed in seeds:
        tasks = load.tasks(seed)
        cluster = Cluster(
            tasks, concurrency=load.concurrency, max_replicas=load.max_replicas, seed=seed
        )
        cluster.run(SCALERS[scaler](load.concurrency, load.max_replicas), load.horizon)
        runs.append((cluster, oracle(tasks, load.concurrency, load.max_replicas)))
    return outcome(load, runs)


def through_outage(scaler: str, seed: int = SEEDS[0]) -> Through:
    """Tasks of five minutes come for ten, then Redis is away, and nothing comes any more."""
    random_ = random.Random(f"outage {seed}")
    tasks = [Task(second * 5.0, lognormal(random_, 300, 0.3)) for second in range(120)]
    cluster = Cluster(tasks, concurrency=5, max_replicas=20, seed=seed, away=(600.0, 780.0))
    cluster.run(SCALERS[scaler](5, 20), 900)
    before = [size for at, size in cluster.sizes if at < 600][-1]
    return Through(
        before=before,
        least=min([before, *(size for at, size in cluster.sizes if at >= 600)]),
        terminated_busy=sum(at >= 600 for at in cluster.terminations),
        interrupted=cluster.interrupted,
    )

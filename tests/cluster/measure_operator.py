"""Measure the operator: `make measure-operator`, on the cluster that tests/cluster/run.sh finds.

Scale-downs under load: a batch of tasks of mixed length takes a pool up to eight workers, and down
as they end; the next batch comes while the last ones still run. Of each smaller size that is
written it is counted how many workers were at work, how many pods were told to end, and how many of
those ran a task then; at the end, how many tasks were interrupted. From zero: how long after the
first task's acknowledgement a size above zero is written. And from five workers to ten, by
`tasksPerReplica`: how long after the tasks' acknowledgement the ten are written.

The cluster tests do the same with smaller numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.cluster.cluster import Absent, Cluster, Images, Object, eventually
from tests.cluster.driving import all_ended, interrupted, types_configmap, types_values
from tests.cluster.operating import Pool, autoscaling
from tests.cluster.recording import Samples, ScaleDown, Sizes, scale_downs
from tests.cluster.release import Api, Release, merged, small

SLOTS = 2
BATCH = (8, 16)
NAP_SECONDS = (1.0, 20.0)
LEFT = (1, 4)
"""How many tasks are left when the next batch comes."""
SCALE_DOWN_SECONDS = 30.0
"""So long it may take, on average, until there is one more."""
WAKE_SECONDS, USUALLY_SECONDS, GROW_SECONDS = 3.0, 1.0, 1.5
"""What the operator promises: from zero at the 95th percentile and the median, and from 5 to 10."""


@dataclass(frozen=True)
class Wave:
    """Scale-downs under load, and the tasks that ran."""

    downs: list[ScaleDown]
    sizes: list[int]
    records: list[Object]
    seconds: float

    @property
    def busy(self) -> int:
        """How many of them were written while workers ran tasks."""
        return sum(bool(down.busy) for down in self.downs)

    @property
    def ended(self) -> int:
        """How many pods were told to end."""
        return sum(len(down.ended) for down in self.downs)

    @property
    def ended_busy(self) -> int:
        """How many of those ran a task."""
        return sum(len(down.ended_busy) for down in self.downs)

    @property
    def interrupted(self) -> int:
        """How many tasks did not run through in one go."""
        return len(interrupted(self.records))

    def __str__(self) -> str:
        """In a line."""
        return (
            f"{len(self.downs)} scale-downs under load in {self.seconds:.0f} s, {self.busy} with "
            f"workers at work; {self.ended} pods told to end, {self.ended_busy} of them busy; "
            f"{len(self.records)} tasks, {self.interrupted} interrupted"
        )

    def table(self) -> str:
        """A line for each scale-down."""
        lines = ["   #  second   size  at work  told to end  of them busy"]
        for number, down in enumerate(self.downs, 1):
            second, size = down.at - self.downs[0].at, f"{down.old} → {down.new}"
            lines.append(
                f"{number:4d}  {second:6.1f}  {size:>5}  {len(down.busy):7d}  {len(down.ended):11d}"
                f"  {len(down.ended_busy):12d}"
            )
        return "\n".join(lines)


def values(images: Images) -> Object:
    """So quick that a size does not last."""
    quick = autoscaling(maxReplicas=8, drainSeconds=5, stabilizationSeconds=2, cooldownSeconds=4)
    return merged(small(images), types_values(), quick, {"workerDefaults": {"concurrency": SLOTS}})


@contextlib.contextmanager
def installed(cluster: Cluster, images: Images) -> Iterator[Release]:
    """A release with these values, in a namespace of its own."""
    with cluster.namespace("measured") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        release.install(values(images))
        yield release


def scale_down_under_load(release: Release, wanted: int, seed: int = 1) -> Wave:
    """Batches of naps until so many scale-downs have been written, and all of them have ended."""
    dice = random.Random(seed)
    pool = Pool(release)
    ids: list[str] = []
    began = time.monotonic()
    with (
        release.api() as api,
        release.api() as other,
        pool.sizes() as sizes,
        pool.ends() as ends,
        Samples(other) as samples,
    ):
        while sum(new.replicas < old.replicas for old, new in sizes.changes()) < wanted:
            seconds = time.monotonic() - began
            assert seconds < wanted * SCALE_DOWN_SECONDS, f"too few scale-downs in {seconds:.0f} s"
            naps = [dice.uniform(*NAP_SECONDS) for _ in range(dice.randint(*BATCH))]
            ids += api.submit_all("nap", [{"seconds": round(nap, 3)} for nap in naps])
            _left(api, dice.randint(*LEFT))
        records = all_ended(api, ids)
        downs = scale_downs(sizes, ends, samples)
        return Wave(
            downs, [size.replicas for size in sizes.all()], records, time.monotonic() - began
        )


def _left(api: Api, count: int) -> None:
    """Wait until no more tasks than that wait or run."""

    def few() -> bool:
        queue = api.get("/api/workflows/queue/stats")["queues"]["nap"]
        return bool(queue["queue_length"] + queue["running"] <= count)

    eventually(few, f"at most {count} tasks are left", 120)


def wake(api: Api, sizes: Sizes, payloads: list[Object]) -> tuple[float, list[str]]:
    """Submit naps to a pool of no workers. How many seconds after the acknowledgement a size above
    zero was written, and the naps' ids.
    """
    assert sizes.now == 0
    ids = [api.submit("nap", payloads[0])]
    acknowledged = time.monotonic()
    ids += api.submit_all("nap", payloads[1:]) if payloads[1:] else []
    written = eventually(
        lambda: sizes.first(lambda size: size > 0, since=acknowledged - 1), "the pool is woken", 30
    )
    assert written is not None
    return max(0.0, written.at - acknowledged), ids


def wake_from_zero(release: Release, trials: int, seed: int = 1) -> list[float]:
    """So many times: wait until there is no worker, for a random moment, and wake the pool."""
    dice = random.Random(seed)
    taken: list[float] = []
    with release.api() as api, Pool(release).sizes() as sizes:
        for _ in range(trials):
            eventually(lambda: sizes.now == 0, "the pool has no worker", 60)
            time.sleep(dice.uniform(1, 3))
            seconds, ids = wake(api, sizes, [{"seconds": 0.1}] * dice.randint(1, 20))
            taken.append(seconds)
            assert interrupted(all_ended(api, ids)) == []
    return taken


def grow(api: Api, sizes: Sizes) -> tuple[float, list[str]]:
    """Submit as many naps again as five workers have. How many seconds after the acknowledgement
    a size of ten was written, and the naps' ids.
    """
    assert sizes.now == 5
    ids = api.submit_all("nap", [{"seconds": 0.1}] * (5 * SLOTS))
    acknowledged = time.monotonic()
    written = eventually(
        lambda: sizes.first(lambda size: size == 10, since=acknowledged - 1), "there are ten", 30
    )
    assert written is not None
    return max(0.0, written.at - acknowledged), ids


def grow_from_five_to_ten(release: Release, trials: int, seed: int = 1) -> list[float]:
    """So many times: keep five workers busy for a random moment, and give them as much again."""
    dice = random.Random(seed)
    taken: list[float] = []
    pool = Pool(release)
    pool.patch(maxReplicas=10, tasksPerReplica=SLOTS)
    with release.api() as api, pool.sizes() as sizes:
        for _ in range(trials):
            eventually(lambda: sizes.now == 0, "the pool has no worker", 60)
            ids = api.submit_all("nap", [{"seconds": 10}] * (5 * SLOTS))
            eventually(lambda: sizes.now == 5, "there are five workers", 10)
            time.sleep(dice.uniform(1, 3))
            seconds, more = grow(api, sizes)
            taken.append(seconds)
            assert interrupted(all_ended(api, ids + more)) == []
    return taken


def percentile(figures: list[float], share: float) -> float:
    """By nearest rank."""
    return sorted(figures)[math.ceil(share * len(figures)) - 1]


def summary(taken: list[float], of: str = "from zero") -> str:
    """What the trials took, in a line."""
    return (
        f"{len(taken)} times {of}: a size is written {percentile(taken, 0.5):.2f} s after the "
        f"first acknowledged task (median), p95 {percentile(taken, 0.95):.2f} s, at most "
        f"{max(taken):.2f} s"
    )


def main() -> None:
    """Measure, print, and exit with 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale-downs", type=int, default=50)
    parser.add_argument("--trials", type=int, default=20, help="from zero")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        cluster = Cluster.find()
        images = cluster.images()
    except Absent as error:
        sys.exit(str(error))
    with installed(cluster, images) as release:
        wave = scale_down_under_load(release, options.scale_downs, options.seed)
        print(wave.table(), wave, sep="\n", flush=True)
        taken = wake_from_zero(release, options.trials, options.seed)
        print(" ".join(f"{seconds:.2f}" for seconds in taken), summary(taken), sep="\n", flush=True)
        grown = grow_from_five_to_ten(release, options.trials // 2, options.seed)
        print(
            " ".join(f"{seconds:.2f}" for seconds in grown),
            summary(grown, "from 5 to 10"),
            sep="\n",
        )
    kept = not wave.ended_busy and not wave.interrupted
    quick = percentile(taken, 0.95) <= WAKE_SECONDS and percentile(taken, 0.5) <= USUALLY_SECONDS
    sys.exit(0 if kept and quick and percentile(grown, 0.5) <= GROW_SECONDS else 1)


if __name__ == "__main__":
    main()

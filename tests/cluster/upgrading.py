"""What the upgrades from other releases share: a load from within the cluster, and its outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cluster.cluster import Object
from tests.cluster.driving import PodLoad, Report, all_ended, interrupted
from tests.cluster.operating import Pool
from tests.cluster.release import Release, uids

QUIET_SECONDS = 5.0
LOAD = ("--rate", "30", "--mix", "nap=2,hello=3,read=22,stats=3", "--nap-seconds", "1", "20")


@dataclass
class Outcome:
    """What was seen of a release in use."""

    report: Report = field(default_factory=Report)
    records: list[Object] = field(default_factory=list)
    """Of all tasks that were acknowledged, once they have ended."""
    sizes: list[int] = field(default_factory=list)
    """The pool's, one after the other."""
    pods: list[Object] = field(default_factory=list)

    def check_requests(self) -> None:
        """None has failed."""
        report = self.report
        assert report.count(200, 202) == report.requests, (report.answers, report.failures)

    def check_tasks(self, naps: int) -> None:
        """No acknowledged one is lost or interrupted, and more than so many took long."""
        ended = sorted(record["task_id"] for record in self.records)
        assert ended == sorted(self.report.acknowledged)
        assert sum(record["type"] == "nap" for record in self.records) > naps
        assert interrupted(self.records)[:5] == []


@contextmanager
def in_use(release: Release, image: str, counted: list[str], what: str) -> Iterator[Outcome]:
    """A release that is under load meanwhile. The outcome is complete at the end.

    `what` happens to it stands in the summary that `counted` gets.
    """
    outcome = Outcome()
    load = PodLoad(release.cluster, release.namespace, image, *LOAD)
    with Pool(release).sizes() as sizes:
        time.sleep(QUIET_SECONDS)
        yield outcome
        time.sleep(QUIET_SECONDS)
        outcome.report = load.stop()
        outcome.pods = release.pods()
        with release.api() as api:
            outcome.records = all_ended(api, list(outcome.report.acknowledged))
        outcome.sizes = [size.replicas for size in sizes.all()]
    broken = len(interrupted(outcome.records))
    counted += [
        f"{what}: {outcome.report}",
        f"  {len(outcome.records)} have ended, {broken} interrupted; sizes {outcome.sizes}",
    ]


@contextmanager
def replaced(release: Release) -> Iterator[None]:
    """Waits at the end until all pods of API and workers that were there before have gone."""
    old = uids(release.pods("api") + release.pods("worker"))
    yield
    release.gone(old)

"""Recorders that watch a pool in the background: the sizes that are written, the pods that are
told to end, and what each worker does at every moment.

Each is a context manager. Times are `time.monotonic()` of this machine, when it was told.
"""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx2

from tests.cluster.cluster import Cluster, eventually
from tests.cluster.release import Api

AGAIN_SECONDS = 0.2
SAMPLE_SECONDS = 0.2
LATE_SECONDS = 0.5
"""Two watches may tell of what belongs together in either order."""


class Watch:
    """What `kubectl get --watch` tells of objects, a line for each change, with the time.

    It is begun again when it ends, as it does when the API server goes away; what is there is then
    told once more.
    """

    def __init__(self, cluster: Cluster, namespace: str, template: str, *objects: str) -> None:
        """`template` is kubectl's jsonpath of one line; `objects` is what follows `get`."""
        self.lines: list[tuple[float, str]] = []
        self._cluster = cluster
        self._command = ("kubectl", "-n", namespace, "get", *objects, "--watch")
        self._template = f'jsonpath={template}{{"\\n"}}'
        self._process: subprocess.Popen[str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(timeout=20)

    def _run(self) -> None:
        while not self._over.wait(AGAIN_SECONDS):
            output = ("-o", self._template)
            self._process = self._cluster.start(*self._command, *output, output=subprocess.PIPE)
            if self._over.is_set():
                self._process.terminate()
            assert self._process.stdout is not None
            with self._process.stdout as lines:
                for line in lines:
                    self.lines.append((time.monotonic(), line.strip()))
            self._process.wait(timeout=20)


@dataclass(frozen=True)
class Size:
    """A size that was written, and when this was told."""

    at: float
    replicas: int


class Sizes(Watch):
    """Every `spec.replicas` that a Deployment has had since the recorder began.

    with Sizes(release.cluster, release.namespace, pool.deployment) as sizes:
        ...
    assert [one.replicas for one in sizes.all()] == [0, 10, 1, 0]
    """

    def __init__(self, cluster: Cluster, namespace: str, deployment: str) -> None:
        super().__init__(cluster, namespace, "size {.spec.replicas}", "deployment", deployment)

    def __enter__(self) -> Self:
        super().__enter__()
        eventually(self.all, "the recorder has the first size")
        return self

    def all(self) -> list[Size]:
        """The sizes in their order, the first one found, and no two in a row the same."""
        sizes: list[Size] = []
        for at, line in list(self.lines):
            word, _, number = line.partition(" ")
            if (
                word == "size"
                and number
                and [int(number)] != [size.replicas for size in sizes[-1:]]
            ):
                sizes.append(Size(at, int(number)))
        return sizes

    @property
    def now(self) -> int:
        """The last one."""
        return self.all()[-1].replicas

    def changes(self) -> list[tuple[Size, Size]]:
        """Each size with the one that followed it."""
        return list(itertools.pairwise(self.all()))

    def first(self, wanted: Callable[[int], bool], since: float = 0.0) -> Size | None:
        """The first size written at `since` or later for which `wanted` is true."""
        return next(
            (size for size in self.all() if size.at >= since and wanted(size.replicas)), None
        )


class Ends(Watch):
    """When each pod of a pool was told to end: then its containers get SIGTERM."""

    def __init__(self, cluster: Cluster, namespace: str, pool: str) -> None:
        template = "pod {.metadata.name} {.metadata.deletionTimestamp}"
        super().__init__(cluster, namespace, template, "pods", "-l", f"headrace.dev/pool={pool}")

    def all(self) -> dict[str, float]:
        """The time by the pod's name."""
        ended_at: dict[str, float] = {}
        for at, line in list(self.lines):
            words = line.split(" ")
            if len(words) == 3 and words[0] == "pod" and words[2]:
                ended_at.setdefault(words[1], at)
        return ended_at


@dataclass(frozen=True)
class Sample:
    """The workers at one moment, by their pods' names."""

    asked_at: float
    at: float
    """When the answer was there."""
    busy: dict[str, int]
    """How many tasks each runs."""
    drained: frozenset[str]
    """The pods whose worker has acknowledged that it may go."""
    draining: frozenset[str]


class Samples:
    """What the workers did at every moment, by the queue's stats. Gaps are where they were away."""

    def __init__(self, api: Api) -> None:
        self.all: list[Sample] = []
        self._api = api
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self.all, "the stats are read")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(timeout=40)

    def before(self, at: float) -> Sample:
        """The last one that was there at this time."""
        return [reading for reading in list(self.all) if reading.at <= at][-1]

    def after(self, at: float) -> Sample:
        """The first one that was asked for after this time; waits for it."""

        def look() -> Sample | None:
            return next((reading for reading in list(self.all) if reading.asked_at >= at), None)

        found = eventually(look, "the stats are read once more")
        assert found is not None
        return found

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            asked_at = time.monotonic()
            try:
                reply = self._api.client.get("/api/workflows/queue/stats")
            except httpx2.TransportError:
                continue
            if reply.status_code != 200:
                continue
            workers = [worker for worker in reply.json()["workers"] if worker["pod"]]
            self.all.append(
                Sample(
                    asked_at,
                    time.monotonic(),
                    {worker["pod"]: int(worker["busy_slots"]) for worker in workers},
                    frozenset(worker["pod"] for worker in workers if worker["drained"]),
                    frozenset(worker["pod"] for worker in workers if worker["draining"]),
                )
            )


@dataclass(frozen=True)
class ScaleDown:
    """A smaller size was written: who was at work then, and who was told to end."""

    at: float
    old: int
    new: int
    busy: frozenset[str]
    """Pods that ran tasks when it was written."""
    ended: frozenset[str]
    """Pods that were told to end because of it."""
    ended_busy: frozenset[str]
    """Those of them that still ran a task after that."""


def scale_downs(sizes: Sizes, ends: Ends, samples: Samples) -> list[ScaleDown]:
    """Every scale-down that was recorded. A pod belongs to the last one before its end."""
    end_times = ends.all()
    smaller = [(old, new) for old, new in sizes.changes() if new.replicas < old.replicas]
    found: list[ScaleDown] = []
    for index, (old, new) in enumerate(smaller):
        until = smaller[index + 1][1].at if index + 1 < len(smaller) else float("inf")
        since, until = new.at - LATE_SECONDS, until - LATE_SECONDS
        ended = frozenset(pod for pod, at in end_times.items() if since <= at < until)
        busy = {pod for pod, count in samples.before(new.at).busy.items() if count}
        ended_busy = {pod for pod in ended if samples.after(end_times[pod]).busy.get(pod)}
        found.append(
            ScaleDown(
                new.at, old.replicas, new.replicas, frozenset(busy), ended, frozenset(ended_busy)
            )
        )
    return found

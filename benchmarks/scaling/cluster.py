"""A queue, its workers and their Deployment, event by event. All scalers meet the same one.

Workers and queue are Headrace's: a worker claims a task as soon as one of its slots is free, drains
on SIGTERM within its grace period, and what SIGKILL takes from it is run again after its lease. A
pod starts in 5 to 30 s, drawn by its number, and counts until it is gone: while it starts, drains
and terminates too. Pods are taken away as a ReplicaSet does it (kubernetes,
pkg/controller/controller_utils.go, ActivePodsWithRanks): those that are not ready first, then the
lower deletion cost, then those ready more recently.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.scaling.loads import Task

START_SECONDS = (5.0, 30.0)
GRACE_SECONDS = 30.0
"""Kubernetes' default terminationGracePeriodSeconds, for every scaler."""
LEASE_SECONDS = 15.0
REGISTER_SECONDS = 5.0
"""So long after Redis lost its data, all workers have registered again."""


@dataclass(eq=False)
class Pod:
    """A pod and its worker."""

    number: int
    created: float
    ready_at: float
    gone_at: float | None = None
    started: bool = False
    terminating: bool = False
    draining: bool = False
    running: dict[int, float] = field(default_factory=dict)
    """Task → when it started."""
    offered: int = 0
    """How many of its free slots stand in the cluster's line."""

    @property
    def name(self) -> str:
        """Its name, and its worker's."""
        return f"worker-{self.number}"

    @property
    def claims(self) -> bool:
        """Whether its worker takes tasks."""
        return self.started and not self.draining and not self.terminating


@dataclass(frozen=True)
class Totals:
    """What has happened so far."""

    at: float
    arrived: int = 0
    ended: int = 0
    crashed: int = 0
    service_seconds: float = 0.0


class Scaler(Protocol):
    """Something that sets the number of workers."""

    def tick(self, cluster: Cluster, now: float) -> None:
        """Called each second."""


class Cluster:
    """The simulated world. `run` is called once."""

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        concurrency: int,
        max_replicas: int,
        seed: int,
        away: tuple[float, float] | None = None,
    ) -> None:
        """With `away`, Redis is gone between two moments and has lost its data after it."""
        self.tasks = tasks
        self.concurrency = concurrency
        self.max_replicas = max_replicas
        self.replicas = 0
        self.pods: list[Pod] = []
        self.waiting: deque[int] = deque()
        self.running = 0
        self.totals: deque[Totals] = deque([Totals(0.0)], maxlen=61)
        """Each second, the last minute of them."""
        self.waits: dict[int, float] = {}
        """Task → from its arrival to the start of its last attempt."""
        self.interrupted = 0
        self.terminations: list[float] = []
        """When a busy worker was sent SIGTERM."""
        self.pod_seconds = 0.0
        self.sizes: list[tuple[float, int]] = [(0.0, 0)]
        """What was written, and when."""
        self.present: list[int] = []
        """Pods that were there, each second."""
        self.lost: set[int] = set()
        """Tasks that Redis forgot."""
        self._away = away
        self._now = 0.0
        self._seed = seed
        self._count = 0
        self._done = Totals(0.0)
        self._line: deque[Pod] = deque()
        self._events: list[tuple[float, int, str, Pod, int]] = []
        self._order = 0

    @property
    def available(self) -> bool:
        """Whether Redis, and so the stats, can be read."""
        return self._away is None or not self._away[0] <= self._now < self._away[1]

    @property
    def forgotten(self) -> bool:
        """Whether Redis has lost its data and does not know the workers yet."""
        return self._away is not None and 0 <= self._now - self._away[1] < REGISTER_SECONDS

    @property
    def epoch(self) -> str:
        """Another one once the data was lost."""
        return "second" if self._away and self._now >= self._away[1] else "first"

    @property
    def ready(self) -> int:
        """Pods that are ready."""
        return sum(pod.started for pod in self.pods if not pod.terminating)

    @property
    def idle(self) -> int:
        """Ready pods that run nothing."""
        return sum(pod.started and not pod.running for pod in self.pods if not pod.terminating)

    @property
    def queued(self) -> int:
        """Tasks that wait."""
        return len(self.waiting)

    @property
    def mean_seconds(self) -> float | None:
        """Mean run time of what has ended; None: nothing has."""
        done = self._done
        return done.service_seconds / done.ended if done.ended else None

    def run(self, scaler: Scaler, horizon: float) -> None:
        """Plays until the horizon."""
        following = 0
        for second in range(int(horizon) + 1):
            while True:
                arrival = self.tasks[following].at if following < len(self.tasks) else horizon + 1
                event = self._events[0][0] if self._events else horizon + 1
                if min(arrival, event) > second:
                    break
                if arrival <= event:
                    self._now = arrival
                    self._arrive(following)
                    following += 1
                else:
                    self._happen()
            self._now = float(second)
            self._watch_redis()
            done = self._done
            self.totals.append(
                Totals(self._now, done.arrived, done.ended, done.crashed, done.service_seconds)
            )
            scaler.tick(self, self._now)
            self.present.append(len(self.pods))
        for pod in self.pods:
            self.pod_seconds += horizon - pod.created
        for task in self.waiting:
            self.waits[task] = horizon - self.tasks[task].at

    def scale(self, replicas: int, costs: Mapping[str, int] | None = None) -> None:
        """Writes the Deployment's size. `costs`: deletion costs by pod, 0 without one."""
        if replicas == self.replicas:
            return
        self.replicas = replicas
        self.sizes.append((self._now, replicas))
        staying = [pod for pod in self.pods if not pod.terminating]
        for _ in range(replicas - len(staying)):
            self._create()
        surplus = len(staying) - replicas
        if surplus > 0:
            costs_by_pod = costs or {}
            staying.sort(
                key=lambda pod: (pod.started, costs_by_pod.get(pod.name, 0), -pod.ready_at)
            )
            for pod in staying[:surplus]:
                self._terminate(pod)

    def retire(self, replicas: int) -> None:
        """The same, idle workers going first."""
        self.scale(replicas, {pod.name: len(pod.running) for pod in self.pods})

    def drain(self, pod: Pod) -> None:
        """The worker claims nothing more."""
        pod.draining = True

    def undrain(self, pod: Pod) -> None:
        """It claims again."""
        pod.draining = False
        self._offer(pod)

    def _watch_redis(self) -> None:
        if self._away and self._now == self._away[1]:
            self.lost |= set(self.waiting)
            self.waiting.clear()
            for pod in self.pods:
                self._offer(pod)

    def _create(self) -> None:
        self._count += 1
        start = random.Random(f"{self._seed} {self._count}").uniform(*START_SECONDS)
        pod = Pod(self._count, self._now, self._now + start)
        self.pods.append(pod)
        self._later(pod.ready_at, "ready", pod)

    def _terminate(self, pod: Pod) -> None:
        pod.terminating = True
        if not pod.running:
            self._gone(pod)
            return
        self.terminations.append(self._now)
        self._later(self._now + GRACE_SECONDS, "kill", pod)

    def _gone(self, pod: Pod) -> None:
        pod.gone_at = self._now
        self.pods.remove(pod)
        self.pod_seconds += self._now - pod.created

    def _later(self, at: float, kind: str, pod: Pod, task: int = -1) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, kind, pod, task))

    def _happen(self) -> None:
        self._now, _, kind, pod, task = heapq.heappop(self._events)
        if kind == "end":
            self._end(pod, task)
        elif kind == "ready":
            if not pod.terminating:
                pod.started = True
                self._offer(pod)
        elif kind == "kill":
            self._kill(pod)
        else:
            self.waiting.appendleft(task)
            self._match()

    def _arrive(self, task: int) -> None:
        done = self._done
        self._done = Totals(0, done.arrived + 1, done.ended, done.crashed, done.service_seconds)
        self.waiting.append(task)
        self._match()

    def _end(self, pod: Pod, task: int) -> None:
        started = pod.running.get(task)
        if pod.gone_at is not None or started is None:
            return  # It was killed.
        del pod.running[task]
        self.running -= 1
        seconds = self._now - started
        done = self._done
        self._done = Totals(
            0, done.arrived, done.ended + 1, done.crashed, done.service_seconds + seconds
        )
        if pod.terminating:
            if not pod.running:
                self._gone(pod)
        else:
            self._offer(pod)

    def _kill(self, pod: Pod) -> None:
        if pod.gone_at is not None:
            return
        for task in pod.running:
            self.interrupted += 1
            self._later(self._now + LEASE_SECONDS, "again", pod, task)
        self.running -= len(pod.running)
        done = self._done
        crashed = done.crashed + len(pod.running)
        self._done = Totals(0, done.arrived, done.ended, crashed, done.service_seconds)
        pod.running.clear()
        self._gone(pod)

    def _offer(self, pod: Pod) -> None:
        """Lets the pod's free slots stand in line."""
        if not pod.claims:
            return
        for _ in range(self.concurrency - len(pod.running) - pod.offered):
            pod.offered += 1
            self._line.append(pod)
        self._match()

    def _match(self) -> None:
        while self.waiting and self._line and self.available:
            pod = self._line.popleft()
            pod.offered -= 1
            if not pod.claims:
                continue
            task = self.waiting.popleft()
            pod.running[task] = self._now
            self.running += 1
            self.waits[task] = self._now - self.tasks[task].at
            self._later(self._now + self.tasks[task].seconds, "end", pod, task)

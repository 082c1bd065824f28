"""The peers, written from their documented algorithms. Each rule names its source.

They see the cluster through the few attributes of `Cluster` below, so that a test can drive them.
Loops begin at a phase: when the first one falls after the start.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Cluster(Protocol):
    """What a peer reads and does."""

    replicas: int
    max_replicas: int
    concurrency: int
    running: int

    @property
    def available(self) -> bool:
        """Whether the metric can be read."""

    @property
    def ready(self) -> int:
        """Pods that are ready."""

    @property
    def idle(self) -> int:
        """Ready pods that run nothing."""

    @property
    def queued(self) -> int:
        """Tasks that wait."""

    @property
    def mean_seconds(self) -> float | None:
        """Mean run time of what has ended."""

    def scale(self, replicas: int) -> None:
        """Writes the Deployment's size."""

    def retire(self, replicas: int) -> None:
        """The same, idle workers going first."""


Metric = Callable[[Cluster], int]


def queued(cluster: Cluster) -> int:
    """The list's length, which KEDA's Redis scaler reads."""
    return cluster.queued


def queued_and_running(cluster: Cluster) -> int:
    """What a metric made for it could tell: running tasks too."""
    return cluster.queued + cluster.running


@dataclass
class Clock:
    """Tells once a second whether a loop's turn has come."""

    every: int
    phase: int = 0

    def due(self, now: float) -> bool:
        """Whether the loop runs at this second."""
        return int(now) >= self.phase and (int(now) - self.phase) % self.every == 0


@dataclass
class Hpa:
    """HorizontalPodAutoscaler (autoscaling/v2) on an external metric of type AverageValue.

    Source: kubernetes, pkg/controller/podautoscaler/horizontal.go and replica_calculator.go.
    """

    metric: Metric
    minimum: int = 0
    """0 needs the gate HPAScaleToZero."""
    window_seconds: float = 300.0
    """--horizontal-pod-autoscaler-downscale-stabilization, or what `behavior` says."""
    behavior: bool = False
    """Whether `behavior` is set: its defaults apply then."""
    clock: Clock = field(default_factory=lambda: Clock(15))
    """--horizontal-pod-autoscaler-sync-period"""
    recommendations: deque[tuple[float, int]] = field(default_factory=deque)

    def tick(self, cluster: Cluster, now: float) -> None:
        """One sync, if it is due."""
        if not self.clock.due(now) or (cluster.replicas == 0 and self.minimum > 0):
            return  # ScalingDisabled: at 0 replicas with a minimum above it, it rests.
        if not cluster.available:
            return  # FailedGetExternalMetric: the size stays.
        current = cluster.replicas
        value = self.metric(cluster)
        desired = math.ceil(value / cluster.concurrency)
        # GetExternalPerPodMetricReplicas: within the tolerance of 10 % nothing changes.
        if current and abs(value / (cluster.concurrency * current) - 1) <= 0.1:
            desired = current
        # stabilizeRecommendation: the largest one of the window. It takes one that is exactly as
        # old as the window, stabilizeRecommendationWithBehaviors does not.
        oldest = now - self.window_seconds + (0.5 if self.behavior else 0)
        while self.recommendations and self.recommendations[0][0] < oldest:
            self.recommendations.popleft()
        self.recommendations.append((now, desired))
        desired = max(size for _, size in self.recommendations)
        # calculateScaleUpLimit; with a behavior: 100 % or 4 pods in 15 s, whichever is more.
        limit = max(2 * current, current + 4 if self.behavior else 4)
        cluster.scale(min(max(desired, self.minimum), limit, cluster.max_replicas))


@dataclass
class Keda:
    """KEDA: 0 to 1 and back by itself, the rest by the HPA that it makes.

    Source: kedacore/keda, pkg/scaling/executor/scale_scaledobjects.go (RequestScale, scaleFromZero,
    scaleToZeroOrIdle), and the documentation of `pollingInterval` (30) and `cooldownPeriod` (300).
    """

    hpa: Hpa
    clock: Clock = field(default_factory=lambda: Clock(30))
    cooldown_seconds: float = 300.0
    last_active: float = -math.inf

    def tick(self, cluster: Cluster, now: float) -> None:
        """One sync and one poll, if they are due."""
        self.hpa.tick(cluster, now)
        if self.clock.due(now):
            self._poll(cluster, now)

    def _poll(self, cluster: Cluster, now: float) -> None:
        if not cluster.available:
            return  # An error without a fallback: the size stays, the last active time too.
        if self.hpa.metric(cluster) > 0:
            self.last_active = now
            if cluster.replicas == 0:
                cluster.scale(1)
        elif cluster.replicas and now - self.last_active > self.cooldown_seconds:
            cluster.scale(0)


def keda(metric: Metric = queued, *, poll: Clock | None = None, sync: Clock | None = None) -> Keda:
    """KEDA with its defaults. The HPA that it makes has minReplicas 1."""
    return Keda(Hpa(metric, minimum=1, clock=sync or Clock(15)), clock=poll or Clock(30))


def keda_tuned(
    metric: Metric = queued,
    *,
    poll: Clock | None = None,
    sync: Clock | None = None,
) -> Keda:
    """KEDA with poll 5 s, window 60 s, and our cooldown of 120 s."""
    return Keda(
        Hpa(metric, minimum=1, window_seconds=60, behavior=True, clock=sync or Clock(15)),
        clock=poll or Clock(5),
        cooldown_seconds=120,
    )


@dataclass
class Knative:
    """Knative's pod autoscaler on concurrency.

    Source: knative/serving, pkg/autoscaler/scaling/autoscaler.go (Scale), and the ConfigMap
    config-autoscaler: tick 2 s, stable window 60 s, panic window 10 % of it, panic threshold 200 %,
    target utilization 70 %, at most ×1000 up and ÷2 down a tick, grace period 30 s.
    """

    clock: Clock = field(default_factory=lambda: Clock(2))
    utilization: float = 0.7
    concurrencies: deque[int] = field(default_factory=lambda: deque(maxlen=60))
    """Each second: in flight, and held by the activator."""
    panicked_at: float | None = None
    panic_pods: int = 0
    inactive_since: float | None = None

    def tick(self, cluster: Cluster, now: float) -> None:
        """Takes a sample, and decides if it is time."""
        if not cluster.available:
            return  # ErrNoData: invalidSR, the size stays.
        in_flight = cluster.queued + cluster.running
        if cluster.replicas or in_flight:
            self.concurrencies.append(in_flight)
        else:
            self.concurrencies.clear()
        if not self.clock.due(now) or not self.concurrencies:
            return
        desired = self._desired(cluster, now)
        if desired == 0 and cluster.replicas:
            # kpa/scaler.go, handleScaleToZero: inactive first, gone after the grace period.
            if self.inactive_since is None:
                self.inactive_since = now
            desired = 0 if now - self.inactive_since >= 30 else 1
        else:
            self.inactive_since = None
        cluster.scale(min(desired, cluster.max_replicas))

    def _desired(self, cluster: Cluster, now: float) -> int:
        target = cluster.concurrency * self.utilization
        ready = max(cluster.ready, 1)
        recent = list(self.concurrencies)
        stable = math.ceil(sum(recent) / len(recent) / target)
        panic = math.ceil(sum(recent[-6:]) / len(recent[-6:]) / target)
        most, least = math.ceil(1000 * ready), ready // 2
        over = panic / ready >= 2
        if over:
            self.panicked_at = now
        elif self.panicked_at is not None and now - self.panicked_at > 60:
            self.panicked_at, self.panic_pods = None, 0
        desired = min(max(stable, least), most)
        if self.panicked_at is not None:
            desired = max(desired, min(max(panic, least), most))
            self.panic_pods = max(self.panic_pods, desired)
            desired = self.panic_pods
        return desired


@dataclass
class Dask:
    """dask-kubernetes' DaskAutoscaler, asking the scheduler's adaptive target.

    Source: dask/dask-kubernetes, operator/controller/controller.py (daskautoscaler_adapt: each 5 s,
    a cooldown of 15 s after a change, at most 25 % down at once), and dask/distributed,
    scheduler.py (adaptive_target: target-duration 5 s, a task of unknown length counts 0.5 s;
    workers_to_close: only idle ones).
    """

    clock: Clock = field(default_factory=lambda: Clock(5))
    cooldown_seconds: float = 15.0
    cooldown_until: float = -math.inf

    def tick(self, cluster: Cluster, now: float) -> None:
        """One turn of the timer, if it is due and not cooling down."""
        if not self.clock.due(now) or now < self.cooldown_until or not cluster.available:
            return
        current = cluster.replicas
        desired = min(self._adaptive_target(cluster), cluster.max_replicas)
        if current:
            desired = max(current - max(int(current * 0.25), 1), desired)
        if desired != current:
            cluster.retire(desired)
            self.cooldown_until = now + self.cooldown_seconds

    @staticmethod
    def _adaptive_target(cluster: Cluster) -> int:
        tasks = cluster.queued + cluster.running
        seconds = cluster.mean_seconds if cluster.mean_seconds is not None else 0.5
        # "Avoid a few long tasks from asking for many cores": not more than there are tasks.
        cores = min(math.ceil(tasks * seconds / 5), tasks)
        if not cluster.ready:
            # Cores are divided by a worker's threads only where there are workers to tell them.
            return max(cores, 1) if cluster.queued else cores
        target = math.ceil(cores / cluster.concurrency)
        return target if target >= cluster.ready else cluster.ready - cluster.idle

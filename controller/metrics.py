"""The operator's metrics for Prometheus. A deleted resource's series end with it.

Series of what is unknown are absent, never zero.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controller.model import Decision
from controller.resource import Identity

ROUND_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_LABELS = ["namespace", "name"]


@dataclass
class Figures:
    """What is shown of one resource."""

    decision: Decision | None = None
    replicas: int | None = None
    draining: int | None = None
    reading_at: float | None = None
    """Time of the last reading, by Redis's clock."""
    decisions: Tally[str] = field(default_factory=Tally)
    """By reason."""
    errors: Tally[str] = field(default_factory=Tally)
    """By what failed."""


class Metrics:
    """All figures, in a registry of their own."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self.leader = Gauge(
            "headrace_operator_leader", "Whether this process leads.", registry=self.registry
        )
        self.synced = Gauge(
            "headrace_operator_synced",
            "Whether the watches lack nothing, as far as this process leads and has compared.",
            registry=self.registry,
        )
        self.loop_seconds = Histogram(
            "headrace_operator_loop_seconds",
            "Time to look at one resource, decide and write.",
            buckets=ROUND_BOUNDS_SECONDS,
            registry=self.registry,
        )
        self._clock = clock
        self._figures: dict[Identity, Figures] = {}
        self.registry.register(self)

    def of(self, identity: Identity) -> Figures:
        """A resource's figures, to be filled in."""
        return self._figures.setdefault(identity, Figures())

    def forget(self, identity: Identity) -> None:
        """End a resource's series."""
        self._figures.pop(identity, None)

    def describe(self) -> list[Metric]:
        """Nothing: which series there are depends on the resources."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families of the resources."""
        gauges = {
            name: GaugeMetricFamily(f"headrace_operator_{name}", text, labels=_LABELS)
            for name, text in _GAUGES.items()
        }
        arrivals, service = (
            GaugeMetricFamily(f"headrace_operator_{name}", text, labels=[*_LABELS, "queue"])
            for name, text in _RATES.items()
        )
        decisions = CounterMetricFamily(
            "headrace_operator_decisions", "Decisions by reason.", labels=[*_LABELS, "reason"]
        )
        errors = CounterMetricFamily(
            "headrace_operator_errors", "Failures by what failed.", labels=[*_LABELS, "kind"]
        )
        for identity, figures in self._figures.items():
            labels = [identity.namespace, identity.name]
            for name, value in self._values(figures).items():
                if value is not None:
                    gauges[name].add_metric(labels, value)
            for queue, rates in (figures.decision.rates if figures.decision else {}).items():
                arrivals.add_metric([*labels, queue], rates.attempts_per_second)
                if rates.service_seconds is not None:
                    service.add_metric([*labels, queue], rates.service_seconds)
            for reason, count in figures.decisions.items():
                decisions.add_metric([*labels, reason], count)
            for kind, count in figures.errors.items():
                errors.add_metric([*labels, kind], count)
        yield from (*gauges.values(), arrivals, service, decisions, errors)

    def _values(self, figures: Figures) -> dict[str, float | None]:
        values: dict[str, float | None] = {
            "replicas": figures.replicas,
            "draining_replicas": figures.draining,
        }
        if figures.reading_at is not None:
            values["stats_age_seconds"] = self._clock() - figures.reading_at
        decision = figures.decision
        if decision is not None:
            values["desired_replicas"] = decision.target
            values["demand"] = decision.demand
            values["stats_available"] = int(decision.stats_available)
        return values


_GAUGES = {
    "desired_replicas": "Workers decided on.",
    "replicas": "The Deployment's size.",
    "draining_replicas": "Workers that claim nothing more.",
    "demand": "Tasks queued, running or due soon.",
    "stats_age_seconds": "Age of the last reading, by Redis's clock and the operator's.",
    "stats_available": "Whether the queue can be read.",
}
_RATES = {
    "arrivals_per_second": "Attempts that arrive.",
    "service_seconds": "Time that an attempt holds a slot.",
}

"""The API's metrics for Prometheus, on their own port: the queue's last reading and the requests.

While Redis is away the queue's series are absent, never zero, and `headrace_redis_available` is 0.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from headrace import __version__
from headrace.logs import get_logger
from headrace.taskqueue import BOUNDS_SECONDS
from headrace_api.http.metrics import cumulative
from headrace_api.tasks.availability import RedisState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from headrace.taskqueue import Histogram, QueueStats, Stats
    from headrace_api.http.held import Held
    from headrace_api.http.metrics import HttpMetrics
    from headrace_api.tasks.availability import Availability
    from headrace_api.tasks.inline import InlineRunner
    from headrace_api.tend import Tend

log = get_logger(__name__)

READER_SECONDS = 5.0
"""A connection that says nothing keeps its thread and its descriptor no longer."""


_GAUGES = {
    "queue_length": "Tasks that a worker could claim now.",
    "running": "Tasks that run.",
    "delayed": "Tasks that wait for a time.",
    "due_soon": "Delayed tasks that are due within 30 s.",
    "queue_length_retries": "Waiting tasks that are not first attempts.",
}
_COUNTERS = {
    "arrivals": "Tasks submitted.",
    "completions": "Tasks completed.",
    "failures": "Tasks failed for good.",
    "retries": "Attempts that failed and were put back.",
    "crashes": "Attempts whose worker went silent.",
    "stalls": "Times that a worker stood still which ran such a task: it may have held it up.",
}


class ApiCollector:
    """Everything on `/metrics`. Reads what the event loop's thread leaves; asks Redis nothing."""

    def __init__(
        self,
        http: HttpMetrics,
        availability: Availability,
        inline: InlineRunner,
        held: Sequence[Held] = (),
        tend: Tend | None = None,
    ) -> None:
        self._http = http
        self._availability = availability
        self._inline = inline
        self._held = held
        self._tend = tend

    def describe(self) -> list[Metric]:
        """Nothing: the families depend on what there is."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families."""
        info = GaugeMetricFamily(
            "headrace_build_info", "The version that runs.", labels=["version"]
        )
        info.add_metric([__version__], 1)
        yield info
        yield from self._http.collect()
        yield from self._inline_runs()
        held = GaugeMetricFamily(
            "headrace_held_requests", "Requests held open on purpose.", labels=["kind"]
        )
        for kept in self._held:
            held.add_metric([kept.kind], kept.count)
        yield held
        if self._tend is not None:
            yield from _periodic_work(self._tend)
        if self._availability.state is not RedisState.DISABLED:
            yield GaugeMetricFamily(
                "headrace_redis_available",
                "Whether Redis can be used: 1, or 0.",
                value=int(self._availability.state is RedisState.AVAILABLE),
            )
        stats = self._availability.stats
        if stats is not None:
            yield from _queues(stats)
            yield from _workers(stats)
            yield CounterMetricFamily(
                "headrace_damaged",
                "Records, and other things in Redis, that could not be used and were set aside.",
                value=stats.damaged_total,
            )

    def _inline_runs(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "headrace_inline_running", "Runs inside requests now.", value=self._inline.running
        )
        ended = CounterMetricFamily(
            "headrace_inline_runs", "Runs inside requests that ended.", labels=["status"]
        )
        for status, count in self._inline.ended.items():
            ended.add_metric([str(status)], count)
        yield ended


def _periodic_work(tend: Tend) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "headrace_tend_holds",
        "Whether this process does the periodic work: 1, or 0 while another one does.",
        value=int(tend.holds),
    )
    runs = CounterMetricFamily(
        "headrace_tend_runs", "Runs of periodic work that ended.", labels=["duty", "result"]
    )
    for duty in tend.duties:
        runs.add_metric([duty, "ok"], tend.runs[duty])
        runs.add_metric([duty, "error"], tend.failures[duty])
    yield runs


def serve(collector: ApiCollector, host: str, port: int) -> tuple[WSGIServer, Thread] | None:
    """Serve `/metrics` from a thread. Port 0: not at all; a taken port is a warning."""
    if port == 0:
        return None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        log.warning(
            "metrics.not_served",
            host=host,
            port=port,
            error=error.strerror or str(error),
            hint="set METRICS_PORT to a free port, or to 0 for no metrics",
        )
        return None

    class Handler(server.RequestHandlerClass):  # type: ignore[name-defined, misc]
        timeout = READER_SECONDS

        def handle(self) -> None:
            with suppress(TimeoutError):
                super().handle()

    server.RequestHandlerClass = Handler
    return server, thread


def _queues(stats: Stats) -> Iterator[Metric]:
    by_queue = stats.queues.items()
    for field, text in _GAUGES.items():
        name = field if field.startswith("queue_") else f"queue_{field}"
        yield _gauge(
            f"headrace_{name}", text, {q: getattr(figures, field) for q, figures in by_queue}
        )
    yield _gauge(
        "headrace_queue_oldest_age_seconds",
        "How long the oldest waiting task has waited; 0 when none waits.",
        {q: figures.oldest_age_seconds or 0.0 for q, figures in by_queue},
    )
    for field, text in _COUNTERS.items():
        family = CounterMetricFamily(f"headrace_task_{field}", text, labels=["queue"])
        for queue, figures in by_queue:
            family.add_metric([queue], _total(figures, field))
        yield family
    yield _histogram("headrace_task_wait_seconds", "From due to claimed.", stats.waiting)
    yield _histogram("headrace_task_run_seconds", "From claimed to ended.", stats.run)


def _workers(stats: Stats) -> Iterator[Metric]:
    workers = stats.workers
    states = {
        "alive": len(workers),
        "busy": sum(worker.busy_slots > 0 for worker in workers),
        "draining": sum(worker.draining for worker in workers),
    }
    family = GaugeMetricFamily("headrace_workers", "Registered workers.", labels=["state"])
    for state, count in states.items():
        family.add_metric([state], count)
    yield family
    yield GaugeMetricFamily(
        "headrace_worker_slots",
        "How many tasks all workers together run at once.",
        value=sum(worker.concurrency for worker in workers),
    )


def _total(stats: QueueStats, field: str) -> float:
    return float(getattr(stats, f"{field}_total"))


def _gauge(name: str, text: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["queue"])
    for queue, value in values.items():
        family.add_metric([queue], value)
    return family


def _histogram(name: str, text: str, histograms: dict[str, Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=["queue"])
    for queue, histogram in histograms.items():
        family.add_metric(
            [queue], cumulative(BOUNDS_SECONDS, histogram.counts), histogram.sum_seconds
        )
    return family

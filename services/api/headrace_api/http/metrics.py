"""Counts the requests and their times, for `/metrics`."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTP_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)
"""Upper bounds of the request histogram's buckets."""


class HttpMetrics:
    """Requests by method, route and status; their times by method and route.

    Plain dicts and lists, turned into series when they are read: counting one request by
    prometheus-client's own objects would cost several times as much.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self._sums: dict[tuple[str, str], float] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        labels = (method, route)
        buckets = self._buckets.get(labels)
        if buckets is None:
            # The sum first: the reader, in a thread of its own, goes by the buckets.
            self._sums[labels] = 0.0
            buckets = self._buckets[labels] = [0] * (len(HTTP_BOUNDS_SECONDS) + 1)
        buckets[bisect_left(HTTP_BOUNDS_SECONDS, seconds)] += 1
        self._sums[labels] += seconds
        counted = (method, route, status)
        self._counts[counted] = self._counts.get(counted, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Both families, as they are now."""
        requests = CounterMetricFamily(
            "headrace_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in list(self._counts.items()):
            requests.add_metric([method, route, str(status)], count)
        times = HistogramMetricFamily(
            "headrace_http_request_seconds", "Time to answer.", labels=["method", "route"]
        )
        for labels, buckets in list(self._buckets.items()):
            times.add_metric(
                list(labels),
                cumulative(HTTP_BOUNDS_SECONDS, list(buckets)),
                self._sums[labels],
            )
        yield requests
        yield times


def cumulative(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus's form: how many were at most each bound."""
    found: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        found.append((bound, total))
    return found

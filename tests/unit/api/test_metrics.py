"""What Prometheus reads: the last reading, absent while nobody knows."""

from __future__ import annotations

import socket
import urllib.request
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest

from headrace.taskqueue import BOUNDS_SECONDS, Histogram, NoReply, TaskQueue
from headrace_api import metrics
from headrace_api.http.metrics import HttpMetrics
from headrace_api.metrics import ApiCollector
from headrace_api.tasks.availability import Availability
from headrace_api.tasks.inline import InlineRunner
from tests.unit.api.stats import SOME_STATS


def collector() -> tuple[ApiCollector, HttpMetrics, Availability]:
    http = HttpMetrics()
    availability = Availability(cast("TaskQueue", object()), tuple)
    inline = InlineRunner(max_running=1, timeout_seconds=1, max_result_bytes=1)
    return ApiCollector(http, availability, inline), http, availability


def text_of(found: ApiCollector) -> list[str]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(found)
    return generate_latest(registry).decode().splitlines()


def test_requests_are_counted_by_route_and_never_by_path() -> None:
    found, http, _ = collector()
    for _ in range(3):
        http.observe("GET", "/api/tasks/{task_id}", 200, 0.004)
    http.observe("GET", "/api/tasks/{task_id}", 404, 40.0)
    lines = text_of(found)
    labels = 'method="GET",route="/api/tasks/{task_id}"'
    assert f'headrace_http_requests_total{{{labels},status="200"}} 3.0' in lines
    assert f'headrace_http_request_seconds_bucket{{le="0.005",{labels}}} 3.0' in lines
    assert f'headrace_http_request_seconds_bucket{{le="30.0",{labels}}} 3.0' in lines
    assert f'headrace_http_request_seconds_bucket{{le="+Inf",{labels}}} 4.0' in lines
    assert f"headrace_http_request_seconds_count{{{labels}}} 4.0" in lines


def test_the_queues_last_reading_stands_in_it() -> None:
    found, _, availability = collector()
    availability.stats = SOME_STATS
    lines = text_of(found)
    assert 'headrace_queue_length{queue="workflow_execute"} 5.0' in lines
    assert 'headrace_queue_oldest_age_seconds{queue="chat_process"} 0.0' in lines
    assert 'headrace_task_arrivals_total{queue="workflow_execute"} 40.0' in lines
    assert 'headrace_task_wait_seconds_bucket{le="+Inf",queue="workflow_execute"} 3.0' in lines
    assert 'headrace_task_wait_seconds_sum{queue="workflow_execute"} 1.5' in lines
    assert 'headrace_workers{state="busy"} 1.0' in lines
    assert "headrace_worker_slots 5.0" in lines
    assert "headrace_damaged_total 0.0" in lines


def test_while_redis_is_away_queues_are_absent_and_never_zero() -> None:
    found, _, availability = collector()
    availability.stats = SOME_STATS
    availability.lost(NoReply("x"))
    lines = text_of(found)
    assert "headrace_redis_available 0.0" in lines
    assert not [line for line in lines if line.startswith("headrace_queue_length")]


def test_metrics_are_served_on_a_port_of_their_own() -> None:
    found, _, _ = collector()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    served = metrics.serve(found, "127.0.0.1", port)
    assert served is not None
    server, thread = served
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            assert b"headrace_build_info" in response.read()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_taken_port_is_a_warning_and_no_end() -> None:
    found, _, _ = collector()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert metrics.serve(found, "127.0.0.1", taken.getsockname()[1]) is None


def test_a_histogram_has_one_count_for_each_bound_and_one_more() -> None:
    assert len(SOME_STATS.waiting["workflow_execute"].counts) == len(BOUNDS_SECONDS) + 1
    assert isinstance(SOME_STATS.waiting["workflow_execute"], Histogram)

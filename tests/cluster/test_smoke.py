"""From nothing to a result: images built, the chart installed, a workflow executed.

`make test-cluster-smoke` runs these alone.
"""

from __future__ import annotations

from tests.cluster.operating import Pool
from tests.cluster.release import Release, ready


def test_an_install_from_nothing_is_ready(shared: Release) -> None:
    pods = shared.pods()
    components = [pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods]
    assert sorted(components) == ["api", "controller", "redis", "worker"]
    assert all(ready(pod) for pod in pods)


def test_the_operator_reads_the_queue_and_keeps_the_pool(shared: Release) -> None:
    pool = Pool(shared)
    pool.await_condition("Ready")
    assert pool.holds("StatsAvailable")
    assert pool.holds("ScalingLimited")
    assert pool.size() == pool.desired() == 1


def test_a_workflow_is_executed_and_its_result_read(shared: Release) -> None:
    with shared.api() as api:
        taken = api.execute("hello", {"name": "cluster"})
        assert taken["status"] == "queued"
        task = api.ended(taken["task_id"])
        assert task["status"] == "completed"
        assert task["result"]["variables"] == {"greeting": "Hello, cluster!"}
        [worker] = api.get("/api/workers")["workers"]
        assert task["worker"] == worker["id"]
        assert worker["pod"] == shared.pod("worker")


def test_nobody_gets_in_without_the_key(shared: Release) -> None:
    with shared.api(key="guessed") as api:
        assert api.client.get("/api/workers").status_code == 401
        assert api.client.get("/healthz").status_code == 200


def test_the_charts_own_test_passes(shared: Release) -> None:
    said = shared.helm("test", "headrace", "--logs", "--timeout", "3m")
    assert "Hello, Headrace!" in said

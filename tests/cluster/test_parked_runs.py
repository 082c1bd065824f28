"""A thousand runs that wait take no worker: the pool goes to none, and all go on when due."""

from __future__ import annotations

from tests.cluster.cluster import Cluster, Images
from tests.cluster.driving import all_ended
from tests.cluster.operating import Pool, autoscaling
from tests.cluster.release import Release, merged, small

RUNS = 1000
WAIT_SECONDS = 90
"""The operator wakes a pool half a minute before its tasks are due."""
WORKFLOW = f"""\
document: {{dsl: '1.0.3', namespace: tests, name: later, version: '1.0.0'}}
do:
  - pause: {{wait: {{seconds: {WAIT_SECONDS}}}}}
  - answer: {{set: {{waited: true}}}}
"""


def test_a_pool_goes_to_none_while_a_thousand_runs_wait_and_all_go_on_when_due(
    cluster: Cluster, images: Images
) -> None:
    with cluster.namespace("parked") as namespace:
        release = Release(cluster, namespace)
        release.install(
            merged(
                small(images),
                autoscaling(stabilizationSeconds=2, cooldownSeconds=3),
                {"workflows": {"definitions": {"later.yaml": WORKFLOW}}},
            )
        )
        pool = Pool(release)
        with release.api() as api:
            ids = api.submit_all("workflow_execute", [{"workflow_id": "later"}] * RUNS)
            pool.await_size(lambda size: size > 0, what="a worker is there")
            pool.await_size(0)
            counts = api.get("/api/tasks/counts")["counts"]["workflow_execute"]
            assert counts["pending"] == RUNS
            records = all_ended(api, ids, WAIT_SECONDS + 60)
    assert {(record["status"], record["crash_count"]) for record in records} == {("completed", 0)}
    assert all(record["result"]["variables"] == {"waited": True} for record in records)

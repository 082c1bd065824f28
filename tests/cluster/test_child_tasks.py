"""A workflow calls a task type of another pool, which is woken from no worker; both are killed."""

from __future__ import annotations

from typing import Any

from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.driving import types_configmap, types_values
from tests.cluster.operating import Pool
from tests.cluster.release import Api, Release, merged, small

NAP_SECONDS = 12.0
WORKFLOW = """\
document: {dsl: '1.0.3', namespace: tests, name: pictures, version: '1.0.0'}
do:
  - thumbnail: {call: thumbnail_create, with: {url: a.png, seconds: "${ .seconds }"}}
  - keep: {set: {thumbnail: "${ . }"}}
"""


def values() -> Object:
    """Two pools: one runs workflows, the other alone has the package with the task type."""
    return {
        "workflows": {"definitions": {"pictures.yaml": WORKFLOW}},
        "workers": {
            "default": {
                "queues": ["workflow_execute"],
                "concurrency": 2,
                "autoscaling": {"minReplicas": 1, "maxReplicas": 1},
            },
            "thumbnails": {
                "queues": ["thumbnail_create"],
                "autoscaling": {"stabilizationSeconds": 2, "cooldownSeconds": 3},
                **types_values()["workerDefaults"],
            },
        },
    }


def test_a_workflow_calls_a_task_of_a_pool_of_none_and_either_pod_is_killed(
    cluster: Cluster, images: Images
) -> None:
    with cluster.namespace("children") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        release.install(merged(small(images), values()))
        runs, thumbnails = Pool(release), Pool(release, "thumbnails")
        thumbnails.await_size(0)
        eventually(lambda: thumbnails.pods() == [], "the first worker is gone")
        with release.api() as api:
            run = api.execute("pictures", {"seconds": NAP_SECONDS})["task_id"]
            child = _running_child(api)
            assert child["parent"] == run
            assert api.task(run)["status"] == "pending"
            assert _busy(api, runs) == 0  # the run holds no slot meanwhile

            for pool in (thumbnails, runs):
                for pod in pool.pods():
                    name = pod["metadata"]["name"]
                    release.kubectl("delete", "pod", name, "--force", "--grace-period=0")
            record = api.ended(run, 90)
            assert record["status"] == "completed", record
            output = record["result"]["variables"]
            assert output == {"thumbnail": {"url": "a.png", "begun": 2}}
            ended = api.task(child["task_id"])
            assert (ended["status"], ended["result"]) == ("completed", output["thumbnail"])
            queues = api.get("/api/workflows/queue/stats")["queues"]
            assert queues["thumbnail_create"]["completions_total"] == 1


def _running_child(api: Api) -> Object:
    """The record of the task that the run has started, once it runs."""

    def look() -> Any:
        tasks = api.get("/api/tasks?type=thumbnail_create&status=running")["items"]
        return tasks and api.task(tasks[0]["task_id"])

    return dict(eventually(look, "the child runs"))


def _busy(api: Api, pool: Pool) -> int:
    """How many slots of a pool's workers are taken."""
    pods = {pod["metadata"]["name"] for pod in pool.pods()}
    workers = api.get("/api/workers")["workers"]
    return sum(worker["busy_slots"] for worker in workers if worker["pod"] in pods)

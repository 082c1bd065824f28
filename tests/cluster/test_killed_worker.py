"""A worker's pod is killed in mid-task: another one does the task from its beginning."""

from __future__ import annotations

from tests.cluster.cluster import eventually
from tests.cluster.release import Release

LEASE_SECONDS = 15.0
NAP_SECONDS = 8.0
SLACK_SECONDS = 25.0


def test_a_task_whose_worker_is_killed_is_done_by_another(busy: Release) -> None:
    with busy.api() as api:
        task_id = api.submit("nap", {"seconds": NAP_SECONDS})

        def runs() -> bool:
            return bool(api.task(task_id)["status"] == "running")

        eventually(runs, "the task runs")
        worker = api.task(task_id)["worker"]
        workers = api.get("/api/workers")["workers"]
        [pod] = [found["pod"] for found in workers if found["id"] == worker]
        busy.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
        task = api.ended(task_id, LEASE_SECONDS + NAP_SECONDS + SLACK_SECONDS)
        assert task["status"] == "completed"
        assert task["result"] == {"begun": 2}
        assert (task["attempt"], task["crash_count"]) == (2, 1)
        assert task["worker"] != worker

        def replaced() -> bool:
            pods = {worker["pod"] for worker in api.get("/api/workers")["workers"]}
            return len(pods) == 2 and pod not in pods

        eventually(replaced, "a new worker has taken the killed one's place")

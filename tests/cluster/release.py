"""A release of the chart: install, change, remove it, and talk to its API."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.cluster.cluster import ROOT, Cluster, Images, Object, eventually

CHART = ROOT / "charts" / "headrace"
NAME = "headrace"
"""All releases have the same name, each in a namespace of its own; objects are named after it."""
FINAL = ("completed", "failed", "cancelled")
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}}


def small_first(images: Images) -> Object:
    """Values for a test cluster, as the first release takes them: these images, small requests,
    quick ends.
    """
    return merged(
        images.values(),
        {
            "api": {"replicas": 1, "shutdownDelaySeconds": 2, "resources": SMALL},
            "workerDefaults": {"gracePeriodSeconds": 20, "resources": SMALL},
            "redis": {"persistence": {"size": "1Gi"}, "resources": SMALL},
        },
    )


def small(images: Images) -> Object:
    """The same for this chart, which has an operator."""
    return merged(small_first(images), {"controller": {"resources": SMALL}})


def fixed(replicas: int) -> Object:
    """Values by which the operator keeps each pool at one size."""
    bounds = {"minReplicas": replicas, "maxReplicas": replicas}
    return {"workerDefaults": {"replicas": replicas, "autoscaling": bounds}}


def merged(*layers: Object) -> Object:
    """Values laid over one another, as helm does it."""
    result: Object = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            if isinstance(below, dict) and isinstance(value, dict):
                result[key] = merged(below, value)
            else:
                result[key] = value
    return result


class Api:
    """Asks an API as one user does. It never asks twice."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def execute(self, workflow: str, variables: Object, *, queued: bool = True) -> Object:
        """The reply to an execute: what was acknowledged, or how it ended."""
        path = f"/api/workflows/{workflow}/execute?async_execute={str(queued).lower()}"
        reply = self.client.post(path, json={"variables": variables})
        assert reply.status_code == (202 if queued else 200), reply.text
        return _object(reply)

    def submit(self, task_type: str, payload: Object) -> str:
        """The id of a task that was acknowledged."""
        reply = self.client.post(f"/api/tasks/{task_type}", json={"payload": payload})
        assert reply.status_code == 202, reply.text
        return str(reply.json()["task_id"])

    def submit_all(self, task_type: str, payloads: list[Object]) -> list[str]:
        """The ids of tasks that were acknowledged all at once."""
        body = {"tasks": [{"payload": payload} for payload in payloads]}
        reply = self.client.post(f"/api/tasks/{task_type}/batch", json=body)
        assert reply.status_code == 202, reply.text
        return [str(task["task_id"]) for task in reply.json()["tasks"]]

    def get(self, path: str) -> Object:
        """A reply of 200."""
        reply = self.client.get(path)
        assert reply.status_code == 200, reply.text
        return _object(reply)

    def task(self, task_id: str) -> Object:
        """A task's record."""
        return self.get(f"/api/tasks/{task_id}")

    def ended(self, task_id: str, seconds: float = 60.0) -> Object:
        """The record of a task that has ended, waited for."""

        def look() -> Object | None:
            task = self.task(task_id)
            return task if task["status"] in FINAL else None

        found = eventually(look, f"task {task_id} has ended", seconds)
        assert found is not None
        return found

    def answer(self, workflow: str, variables: Object) -> Object:
        """What a workflow makes of variables, through the queue."""
        task = self.ended(self.execute(workflow, variables)["task_id"])
        assert task["status"] == "completed", task
        return dict(task["result"]["variables"])


class Release:
    """One release, in a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def install(self, values: Object, *args: str, chart: Path = CHART, wait: bool = True) -> None:
        """`helm install`, and wait until all of it is ready, unless told not to."""
        self.helm("install", NAME, str(chart), *_waiting(wait), *args, values=values)

    def upgrade(self, values: Object, *args: str, chart: Path = CHART, wait: bool = True) -> None:
        """`helm upgrade` to these values alone; waits as `install` does."""
        self.helm("upgrade", NAME, str(chart), *_waiting(wait), *args, values=values)

    def rollback(self, revision: int, *args: str, wait: bool = True) -> None:
        """`helm rollback`; waits as `install` does."""
        self.helm("rollback", NAME, str(revision), *_waiting(wait), *args)

    def uninstall(self) -> None:
        """`helm uninstall`, and wait until its objects are gone."""
        self.helm("uninstall", NAME, "--wait", "--timeout", "3m")

    def helm(self, verb: str, *args: str, values: Object | None = None) -> str:
        """`helm` in this namespace, with values."""
        given = [] if values is None else ["--values", "-"]
        text = json.dumps(values or {})
        return self.cluster.helm(verb, *args, *given, "-n", self.namespace, text=text)

    def kubectl(self, *args: str, text: str = "") -> str:
        """`kubectl` in this namespace, with this text as its input."""
        return self.cluster.kubectl("-n", self.namespace, *args, text=text)

    def get(self, kind: str, name: str) -> Object:
        """An object of the release."""
        return self.cluster.get(self.namespace, kind, name)

    def secret(self, name: str, key: str) -> str:
        """What a Secret holds."""
        return base64.b64decode(self.get("secret", name)["data"][key]).decode()

    @property
    def key(self) -> str:
        """The key that the chart has drawn."""
        return self.secret(f"{NAME}-api-keys", "admin")

    @property
    def operator_key(self) -> str:
        """The operator's key, which the chart has drawn too."""
        return self.secret(f"{NAME}-controller-key", "key")

    def pods(self, component: str = "") -> list[Object]:
        """The pods of the release, or of a component: `api`, `worker`, `redis`, `controller`."""
        selector = f"app.kubernetes.io/instance={NAME}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        return self.cluster.list(self.namespace, "pods", "-l", selector)

    def pod(self, component: str) -> str:
        """The name of a pod of this component that is ready and stays."""
        return next(
            str(pod["metadata"]["name"])
            for pod in self.pods(component)
            if ready(pod) and "deletionTimestamp" not in pod["metadata"]
        )

    def gone(self, uids: set[str], seconds: float = 120.0) -> None:
        """Wait until none of these pods is there any more."""

        def none_left() -> bool:
            return uids.isdisjoint(pod["metadata"]["uid"] for pod in self.pods())

        eventually(none_left, "the replaced pods have gone", seconds)

    @contextlib.contextmanager
    def api(self, key: str | None = None) -> Iterator[Api]:
        """The API of one pod, by a port-forward, with the chart's key."""
        with (
            forwarded(self.cluster, self.namespace, self.pod("api"), 8000) as port,
            client(f"http://127.0.0.1:{port}", self.key if key is None else key) as api_client,
        ):
            yield Api(api_client)


def client(url: str, key: str, **options: Any) -> httpx2.Client:
    """An HTTP client with a key, which asks no proxy."""
    headers = {"X-API-Key": key, **options.pop("headers", {})}
    return httpx2.Client(base_url=url, headers=headers, timeout=30, trust_env=False, **options)


def ready(pod: Object) -> bool:
    """Whether a pod is ready."""
    conditions = pod["status"].get("conditions", [])
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def restarts(pods: list[Object]) -> dict[str, int]:
    """How often the containers of each pod have been started again."""
    return {
        pod["metadata"]["name"]: sum(
            container_status["restartCount"]
            for container_status in pod["status"].get("containerStatuses", [])
        )
        for pod in pods
    }


def lasting(task: Object) -> Object:
    """A task's record without what is true of the moment alone."""
    return {name: value for name, value in task.items() if name != "live_workers"}


def uids(pods: list[Object]) -> set[str]:
    """What tells a pod from the one that takes its place under the same name."""
    return {pod["metadata"]["uid"] for pod in pods}


@contextlib.contextmanager
def forwarded(cluster: Cluster, namespace: str, pod: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to a pod's."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "said")
        command = ("kubectl", "-n", namespace, "port-forward", f"pod/{pod}", f":{port}")
        with said.open("w") as output:
            process = cluster.start(*command, output=output)
        try:
            end = time.monotonic() + 30
            while not (found := re.search(r"127\.0\.0\.1:(\d+) ->", said.read_text())):
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < end, "the port-forward does not begin"
                time.sleep(0.1)
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(timeout=20)


def _waiting(wait: bool) -> tuple[str, ...]:
    return ("--wait", "--timeout", "5m") if wait else ()


def _object(reply: httpx2.Response) -> Object:
    answer = reply.json()
    assert isinstance(answer, dict)
    return answer

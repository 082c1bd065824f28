"""Runs load.py in a pod or on this machine, and reads its report; the task type it asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster, Object, eventually
from tests.cluster.release import FINAL, NAME, Api

HERE = Path(__file__).parent
PROGRAM = HERE / "load.py"
TYPES = "cluster_test_types"
WINDOW_SECONDS = 10
RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass
class Report:
    """What a load has to tell."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """The call that made each acknowledged task, by the task's id."""
    at: list[float] = field(default_factory=list)
    """When each was acknowledged, in seconds since the start."""
    answers: dict[str, int] = field(default_factory=dict)
    """How often each call had which status; 0: none came."""
    answers_by_second: list[int] = field(default_factory=list)
    failures: list[Object] = field(default_factory=list)
    """The requests without an answer, and the first of those that were refused."""
    slowest_seconds: float = 0.0

    @classmethod
    def read(cls, text: str) -> Report:
        """From what load.py has printed."""
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines, "the load has printed nothing"
        assert "answers" in lines[-1], f"the load has not ended: {lines[-1]}"
        report = cls(**lines.pop())
        report.acknowledged = {line["task_id"]: line["call"] for line in lines}
        report.at = [line["at"] for line in lines]
        return report

    def count(self, *statuses: int) -> int:
        """How many requests had one of these statuses."""
        ends = tuple(f" {status}" for status in statuses)
        return sum(count for name, count in self.answers.items() if name.endswith(ends))

    @property
    def unanswered(self) -> list[Object]:
        """The requests that had no answer."""
        return [failure for failure in self.failures if failure["status"] == 0]

    @property
    def requests(self) -> int:
        """How many were sent."""
        return sum(self.answers.values())

    def __str__(self) -> str:
        """In a line."""
        answers = ", ".join(f"{count} × {name}" for name, count in sorted(self.answers.items()))
        return (
            f"{self.requests} requests ({answers}), at least {self.slowest_window():.0f}/s over "
            f"{WINDOW_SECONDS} s, slowest {self.slowest_seconds:.2f} s; "
            f"{len(self.acknowledged)} tasks acknowledged, the longest pause "
            f"{self.longest_pause():.1f} s"
        )

    def slowest_window(self) -> float:
        """The least answers a second, over any few whole seconds in a row."""
        seconds = self.answers_by_second
        windows = range(len(seconds) - WINDOW_SECONDS + 1)
        return min(
            sum(seconds[window : window + WINDOW_SECONDS]) / WINDOW_SECONDS for window in windows
        )

    def longest_pause(self) -> float:
        """The longest time without an acknowledged task, in seconds."""
        return max(after - before for before, after in zip(self.at, self.at[1:], strict=False))


class PodLoad:
    """load.py in a pod, which reaches the API by its Service."""

    def __init__(self, cluster: Cluster, namespace: str, image: str, *options: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._pod = "load"
        program = {"load.py": PROGRAM.read_text()}
        command = ["python3", "/load/load.py", f"http://{NAME}-api:8000", "/tmp/stop", *options]
        key = {"secretKeyRef": {"name": f"{NAME}-api-keys", "key": "admin"}}
        container = {
            "name": "load",
            "image": image,
            "command": command,
            "env": [{"name": "API_KEY", "valueFrom": key}],
            "securityContext": RESTRICTED,
            "volumeMounts": [
                {"name": "load", "mountPath": "/load"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
        spec = {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {"name": "load", "configMap": {"name": "load"}},
                {"name": "tmp", "emptyDir": {}},
            ],
        }
        cluster.apply(namespace, configmap("load", program), pod(self._pod, spec))

        def runs() -> bool:
            return bool(self._said())

        eventually(runs, "the load in its pod has begun", 60)

    def stop(self) -> Report:
        """End it, and read its report."""
        self._cluster.kubectl("-n", self._namespace, "exec", self._pod, "--", "touch", "/tmp/stop")

        def over() -> bool:
            state = self._cluster.get(self._namespace, "pod", self._pod)["status"]["phase"]
            assert state != "Failed", self._said()
            return bool(state == "Succeeded")

        eventually(over, "the load has ended", 60)
        report = Report.read(self._said())
        self._cluster.kubectl("-n", self._namespace, "delete", "pod", self._pod, "--now")
        return report

    def _said(self) -> str:
        pods = self._cluster.list(
            self._namespace, "pods", f"--field-selector=metadata.name={self._pod}"
        )
        if not pods or pods[0]["status"]["phase"] == "Pending":
            return ""
        return self._cluster.kubectl("-n", self._namespace, "logs", self._pod)


class LocalLoad:
    """load.py on this machine, which reaches the API by an ingress controller."""

    def __init__(self, folder: Path, url: str, host: str, key: str, *options: str) -> None:
        self._stop = folder / "stop"
        self._output = folder / "load.jsonl"
        command = [sys.executable, str(PROGRAM), url, str(self._stop), "--host", host, *options]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                command, stdout=output, env=os.environ | {"API_KEY": key}
            )
        eventually(self._output.read_text, "the load has begun", 60)

    def stop(self) -> Report:
        """End it, and read its report."""
        self._stop.touch()
        assert self._process.wait(timeout=60) == 0
        return Report.read(self._output.read_text())

    def kill(self) -> None:
        """After a failure."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def configmap(name: str, data: dict[str, str]) -> Object:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, spec: Object, **labels: str) -> Object:
    """A Pod without a grace period."""
    spec = {"terminationGracePeriodSeconds": 0, **spec}
    metadata: Object = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def types_configmap() -> Object:
    """The task type `nap` as an installed package, one file a key."""
    return configmap(
        "test-types",
        {
            "module": (HERE / f"{TYPES}.py").read_text(),
            "metadata": "Metadata-Version: 2.1\nName: cluster-test-types\nVersion: 1.0\n",
            "entry_points": f"[headrace.handlers]\ncluster = {TYPES}\n",
        },
    )


def types_values() -> Object:
    """Values by which the workers have it."""
    info = f"{TYPES}-1.0.dist-info"
    items = [
        {"key": "module", "path": f"{TYPES}.py"},
        {"key": "metadata", "path": f"{info}/METADATA"},
        {"key": "entry_points", "path": f"{info}/entry_points.txt"},
    ]
    volume = {"name": "types", "configMap": {"name": "test-types", "items": items}}
    mount = {"name": "types", "mountPath": "/types", "readOnly": True}
    return {
        "workerDefaults": {
            "extraEnv": [{"name": "PYTHONPATH", "value": "/types"}],
            "extraVolumes": [volume],
            "extraVolumeMounts": [mount],
        }
    }


def all_ended(api: Api, ids: list[str], seconds: float = 120.0) -> list[Object]:
    """The records of all these tasks, once each of them has ended. A missing one is a failure."""

    def none_left() -> bool:
        queues = api.get("/api/workflows/queue/stats")["queues"].values()
        return not any(
            queue["queue_length"] + queue["running"] + queue["delayed"] for queue in queues
        )

    eventually(none_left, "the queues are empty", seconds)
    records = [api.task(id) for id in ids]
    lost = [record for record in records if record["status"] not in FINAL]
    assert not lost, f"{len(lost)} of {len(ids)} acknowledged tasks have not ended: {lost[:3]}"
    return records


def interrupted(records: list[Object]) -> list[Any]:
    """Those that did not run through in one go, or did not complete."""
    return [
        record
        for record in records
        if record["status"] != "completed"
        or (record["attempt"], record["crash_count"], record["retry_count"]) != (1, 0, 0)
        or (record["type"] == "nap" and record["result"] != {"begun": 1})
    ]

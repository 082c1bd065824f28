"""Drive and watch an operator: a pool's WorkerAutoscaler, its size and events, and who leads.

What goes on over time is recorded by `recording.py` (sizes, pods told to end, the workers' tasks);
interrupted tasks are counted by `driving.interrupted`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.cluster.cluster import Cluster, CommandFailed, Object, eventually
from tests.cluster.recording import Ends, Sizes
from tests.cluster.release import NAME, Api, Release, ready
from tests.servers import absent

DEFINITION = "workerautoscalers.headrace.dev"
DEFINE = (
    *("apply", "--server-side", "--force-conflicts", "--field-manager=helm"),
    *("-f", "charts/headrace/crds/"),
)
LEASE = "headrace-operator"
PAUSED = "headrace.dev/paused"
METRICS_PORT = 9090
TAKEOVER_SECONDS = 15.0
"""Within which another operator leads after the leader was killed."""
_SIGNAL = r"""
import os, signal, sys, time
if os.fork():
    os._exit(0)  # this is told to have worked before the container may end
os.setsid()
os.closerange(0, 3)
time.sleep(0.1)
for pid in filter(str.isdigit, os.listdir("/proc")):
    if open(f"/proc/{pid}/cmdline").read() == "python\0-m\0controller\0":
        os.kill(int(pid), getattr(signal, "SIG" + sys.argv[1]))
"""


def define(cluster: Cluster) -> None:
    """Make the WorkerAutoscaler known to the API server, by the documented command."""
    cluster.kubectl(*DEFINE)
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{DEFINITION}")


def needs_tool(cluster: Cluster, what: str) -> None:
    """Skip on a cluster that the one-node tool has not made; `what` it alone can do."""
    if not cluster.tool:
        absent(f"only on a cluster of the one-node tool that CLUSTER_TOOL names can a test {what}")


def autoscaling(**settings: Any) -> Object:
    """Values for all pools: `autoscaling(cooldownSeconds=5, maxReplicas=8)`."""
    return {"workerDefaults": {"autoscaling": settings}}


class Pool:
    """A release's worker pool, and the WorkerAutoscaler that has the name of its Deployment."""

    def __init__(self, release: Release, name: str = "default") -> None:
        self.release = release
        self.name = name
        self.deployment = f"{NAME}-worker-{name}"

    def size(self) -> int:
        """The Deployment's `spec.replicas`."""
        return int(self.release.get("deployment", self.deployment)["spec"]["replicas"])

    def scale(self, replicas: int) -> None:
        """As a person does: `kubectl scale`."""
        self.release.kubectl("scale", "deployment", self.deployment, "--replicas", str(replicas))

    def pods(self) -> list[Object]:
        """The pool's pods, also those that end."""
        return self.release.cluster.list(
            self.release.namespace, "pods", "-l", f"headrace.dev/pool={self.name}"
        )

    def autoscaler(self) -> Object:
        """The WorkerAutoscaler."""
        return self.release.get("workerautoscaler", self.deployment)

    def status(self) -> Object:
        """Its status; empty as long as there is none."""
        return dict(self.autoscaler().get("status", {}))

    def desired(self) -> int | None:
        """The size that the operator aims at, by the status."""
        found = self.status().get("desiredReplicas")
        return None if found is None else int(found)

    def reason(self) -> str:
        """The code of the last decision, by the status."""
        return str(self.status().get("lastDecision", {}).get("reason", ""))

    def condition(self, kind: str) -> Object:
        """A condition, such as `StatsAvailable`: status, reason, message; empty: not there yet."""
        conditions = self.status().get("conditions", [])
        return next((dict(condition) for condition in conditions if condition["type"] == kind), {})

    def holds(self, kind: str, status: str = "True", reason: str = "") -> bool:
        """Whether a condition has this status, and this reason if one is given."""
        found = self.condition(kind)
        return found.get("status") == status and reason in ("", found["reason"])

    def await_condition(
        self, kind: str, status: str = "True", reason: str = "", seconds: float = 60.0
    ) -> Object:
        """The condition, once it has this status and reason."""
        what = f"{kind} is {status} {reason}".strip()
        eventually(lambda: self.holds(kind, status, reason), what, seconds)
        return self.condition(kind)

    def await_size(
        self, wanted: int | Callable[[int], bool], seconds: float = 60.0, what: str = ""
    ) -> int:
        """The Deployment's size, once it is so large, or once `wanted` says yes to it."""
        check = wanted if callable(wanted) else lambda size: size == wanted

        def look() -> list[int]:
            size = self.size()
            return [size] if check(size) else []

        return eventually(look, what or f"the size is {wanted}", seconds)[0]

    def annotate(self, annotation: str) -> None:
        """Set an annotation of the WorkerAutoscaler, `name=value`, or take it away, `name-`."""
        self.release.kubectl(
            "annotate", "--overwrite", "workerautoscaler", self.deployment, annotation
        )

    def pause(self) -> None:
        """By the annotation, and wait until the operator has seen it."""
        self.annotate(f"{PAUSED}=true")
        self.await_condition("Paused")

    def resume(self) -> None:
        """Take the annotation away, and wait until the operator has seen it."""
        self.annotate(f"{PAUSED}-")
        self.await_condition("Paused", "False")

    def patch(self, **spec: Any) -> None:
        """Change fields of the spec; None takes a field away."""
        text = json.dumps({"spec": spec})
        self.release.kubectl(
            "patch", "workerautoscaler", self.deployment, "--type", "merge", "-p", text
        )

    def events(self, *reasons: str) -> list[Object]:
        """The events that regard the WorkerAutoscaler, the oldest first; of these reasons alone.

        Each has `reason`, `note`, `type` and `eventTime`.
        """
        return [
            event
            for event in sorted(
                self.release.cluster.list(self.release.namespace, "events.events.k8s.io"),
                key=lambda event: str(event.get("eventTime")),
            )
            if event["regarding"].get("kind") == "WorkerAutoscaler"
            and event["regarding"].get("name") == self.deployment
            and (not reasons or event["reason"] in reasons)
        ]

    def sizes(self) -> Sizes:
        """A recorder of the sizes that are written."""
        return Sizes(self.release.cluster, self.release.namespace, self.deployment)

    def ends(self) -> Ends:
        """A recorder of the pods that are told to end."""
        return Ends(self.release.cluster, self.release.namespace, self.name)


class Operator:
    """The operator that a release runs: its pods, which of them leads, and what it measures."""

    def __init__(self, release: Release) -> None:
        self.release = release

    def pods(self) -> list[Object]:
        """Its pods, but for those that end."""
        pods = self.release.pods("controller")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def lease(self) -> Object:
        """The Lease's spec: holderIdentity, acquireTime, renewTime; empty: there is none."""
        try:
            return dict(self.release.get("lease", LEASE)["spec"])
        except CommandFailed as error:
            if "NotFound" not in error.said:
                raise
            return {}

    def leader(self) -> str:
        """The name of the pod that holds the Lease; empty: none that is there."""
        holder = str(self.lease().get("holderIdentity") or "")
        names = [str(pod["metadata"]["name"]) for pod in self.pods()]
        return next((name for name in names if holder.startswith(name)), "")

    def await_leader(self, seconds: float = 60.0, *, other_than: str = "") -> str:
        """The name of the pod that leads, by the Lease and by itself, once there is one."""

        def look() -> str:
            name = self.leader()
            leads = name and name != other_than and self.metric("headrace_operator_leader", name)
            return name if leads else ""

        return eventually(look, "an operator leads", seconds)

    def kill(self) -> str:
        """Delete the pod that leads without any grace. Its name."""
        name = self.await_leader()
        self.release.kubectl("delete", "pod", name, "--force", "--grace-period=0")
        return name

    def signal(self, name: str, pod: str) -> None:
        """Send the operator's own process in a pod a signal, such as `KILL` or `STOP`.

        To delete a pod without grace is not to kill it: its processes are still told to end first.
        """
        self.release.cluster.python(self.release.namespace, pod, _SIGNAL, name)

    def shoot(self) -> str:
        """Kill the process that leads and delete its pod, whose name this is: a new one is made."""
        name = self.await_leader()
        self.signal("KILL", name)
        self.release.kubectl("delete", "pod", name, "--force", "--grace-period=0")
        return name

    def scale(self, replicas: int) -> None:
        """So many operator pods; 0: none, and wait until they are gone."""
        deployment = f"{NAME}-controller"
        self.release.kubectl("scale", "deployment", deployment, "--replicas", str(replicas))
        if replicas == 0:
            eventually(lambda: not self.release.pods("controller"), "the operator is gone")
            return
        eventually(lambda: self._ready() == replicas, f"{replicas} operator pods are ready")

    def metrics(self, pod: str = "") -> str:
        """What a pod of it, or the one that leads, tells Prometheus, through the API server."""
        namespace, name = self.release.namespace, pod or self.leader()
        path = f"/api/v1/namespaces/{namespace}/pods/{name}:{METRICS_PORT}/proxy/metrics"
        return self.release.cluster.kubectl("get", "--raw", path)

    def metric(self, name: str, /, pod: str = "", **labels: str) -> float | None:
        """One figure; None: it is not told, or nobody answers."""
        try:
            text = self.metrics(pod)
        except CommandFailed:
            return None
        for line in text.splitlines():
            series, _, number = line.rpartition(" ")
            own, _, rest = series.partition("{")
            values = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            if own == name and labels.items() <= values.items():
                return float(number)
        return None

    def logs(self, pod: str = "") -> list[Object]:
        """What a pod of it, or the one that leads, has logged, a line of JSON each."""
        text = self.release.kubectl("logs", pod or self.leader())
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def restarts(self) -> int:
        """How often containers of its pods have been started again."""
        return sum(
            status["restartCount"]
            for pod in self.pods()
            for status in pod["status"].get("containerStatuses", [])
        )

    def _ready(self) -> int:
        return sum(ready(pod) for pod in self.pods())


def busy_pods(api: Api) -> set[str]:
    """The pods whose workers run a task now."""
    workers = api.get("/api/workflows/queue/stats")["workers"]
    return {str(worker["pod"]) for worker in workers if worker["busy_slots"]}

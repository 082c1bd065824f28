"""What a round works with, held in memory: an API server's objects, a watch, drain marks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from controller import kube
from controller.api import Api, ApiError
from controller.kube import Json, Kube, KubeError
from controller.model import Reading, Unread
from controller.observe import counted
from controller.polling import Reader, Readers
from controller.resource import Autoscaler, Body, InvalidSpec
from controller.scale import COST_ANNOTATION
from controller.watched import Watched

NAMESPACE = "shop"
CREATED = "2027-01-15T08:00:00Z"
HASH = "6d4f9"
LEASE = f"{NAMESPACE}/headrace-operator"


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def autoscaler(
    name: str = "workers", spec: Mapping[str, Any] | None = None, **metadata: Any
) -> Json:
    """A WorkerAutoscaler of the Deployment "workers", for which the operator acts already."""
    fields = {"targetRef": {"name": "workers"}, "api": {"url": "http://api:8000"}, **(spec or {})}
    defaults = {
        "namespace": NAMESPACE,
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": CREATED,
    }
    status = {"operator": {"lease": LEASE, "time": CREATED}}
    return {"metadata": {**defaults, **metadata}, "spec": fields, "status": status}


def deployment(size: int, version: int = 1, /, **status: Any) -> Json:
    """The Deployment "workers", plainly scaled and looked at by its controller."""
    defaults = {
        "observedGeneration": 1,
        "replicas": size,
        "updatedReplicas": size,
        "readyReplicas": size,
        "availableReplicas": size,
    }
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": "workers",
            "uid": "uid-deployment",
            "resourceVersion": str(version),
            "generation": 1,
        },
        "spec": {"replicas": size, "selector": {"matchLabels": {"app": "workers"}}},
        "status": {**defaults, **status},
    }


def pod(name: str, **metadata: Any) -> Json:
    """A worker pod of the Deployment's, at work."""
    owner = {"kind": "ReplicaSet", "name": f"workers-{HASH}", "controller": True}
    defaults = {
        "namespace": NAMESPACE,
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "labels": {"app": "workers", "pod-template-hash": HASH},
        "ownerReferences": [owner],
    }
    return {
        "metadata": {**defaults, **metadata},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "worker", "ready": True, "state": {"running": {"startedAt": CREATED}}}
            ],
        },
    }


class FakeKube(Kube):
    """One Deployment with its pods, and everything that was written, in order.

    The Deployment's controller is not part of it: a test moves pods and status itself, or lets a
    ReplicaSet look at them.
    """

    def __init__(self, found: Json, pods: list[Json]) -> None:
        self.deployment = found
        self.pods = {pod["metadata"]["name"]: pod for pod in pods}
        self.writes: list[tuple[str, Json]] = []
        self.lists: list[tuple[str, str]] = []
        """Each collection that was listed, and by which labels."""
        self.refuse: Callable[[str], KubeError | None] = lambda path: None
        """Which writes and reads fail, by path."""
        self._versions = itertools.count(100)

    async def get(self, path: str) -> Json:
        self._try(path)
        assert path == kube.deployment(NAMESPACE, "workers")
        return deepcopy(self.deployment)

    async def metadata(self, path: str, labels: str = "") -> list[Json]:
        self._try(path)
        assert path == kube.pods(NAMESPACE)
        self.lists.append((path, labels))
        return [deepcopy(pod["metadata"]) for pod in self.pods.values()]

    async def create(self, path: str, body: Json) -> Json:
        self._try(path)
        self.writes.append((path, body))
        return body

    async def merge(self, path: str, body: Json) -> Json:
        self._try(path)
        self.writes.append((path, body))
        name = path.rpartition("/")[2]
        if path != kube.pod(NAMESPACE, name):
            return body
        if name not in self.pods:
            raise KubeError(404, f"no pod {name}")
        changed = deepcopy(self.pods[name])
        changed["metadata"] |= {"resourceVersion": self._next(), **body["metadata"]}
        self.pods[name] = changed
        return deepcopy(changed)

    async def apply(self, path: str, body: Json) -> Json:
        self._try(path)
        assert path == kube.scale(NAMESPACE, "workers")
        if body["metadata"]["resourceVersion"] != self.deployment["metadata"]["resourceVersion"]:
            raise KubeError(409, "the object has been modified")
        self.writes.append((path, body))
        changed = deepcopy(self.deployment)
        changed["metadata"]["resourceVersion"] = self._next()
        changed["spec"]["replicas"] = body["spec"]["replicas"]
        self.deployment = changed
        return deepcopy(changed)

    def shrink(self) -> list[str]:
        """What a ReplicaSet does after a smaller size. Returns the pods that it takes."""
        own = counted(self.deployment, self.pods.values())
        by_cost = sorted(own, key=lambda pod: (_cost(pod), pod["metadata"]["name"]))
        surplus = max(len(own) - self.deployment["spec"]["replicas"], 0)
        taken = [pod["metadata"]["name"] for pod in by_cost[:surplus]]
        for name in taken:
            del self.pods[name]
        return taken

    def bodies(self, path: str) -> list[Json]:
        """What was written to a path."""
        return [body for write, body in self.writes if write == path]

    @property
    def sizes(self) -> list[int]:
        """The sizes that were written."""
        return [body["spec"]["replicas"] for body in self.bodies(kube.scale(NAMESPACE, "workers"))]

    @property
    def costs(self) -> dict[str, str]:
        """The last deletion cost written to each pod."""
        found = {}
        for path, body in self.writes:
            if path.startswith(kube.pods(NAMESPACE)):
                [found[path.rpartition("/")[2]]] = body["metadata"]["annotations"].values()
        return found

    @property
    def events(self) -> list[tuple[str, str]]:
        """Reason and note of each event."""
        return [(body["reason"], body["note"]) for body in self.bodies(kube.events(NAMESPACE))]

    def status(self, name: str = "workers") -> Json:
        """A resource's status as written last."""
        status: Json = self.bodies(kube.autoscaler_status(NAMESPACE, name))[-1]["status"]
        return status

    def condition(self, kind: str) -> tuple[str, str]:
        """A condition's status and reason, as written last."""
        [found] = [
            condition for condition in self.status()["conditions"] if condition["type"] == kind
        ]
        return found["status"], found["reason"]

    def _next(self) -> str:
        return str(next(self._versions))

    def _try(self, path: str) -> None:
        error = self.refuse(path)
        if error is not None:
            raise error


def _cost(pod: Body) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(COST_ANNOTATION, "0"))


class FakeApi(Api):
    """Takes marks, as long as it does not fail."""

    def __init__(self) -> None:
        self.url = "http://api:8000"
        self.calls: list[tuple[str, str]] = []
        """All of them."""
        self._taken = 0
        self.gone: set[str] = set()
        self.error: ApiError | None = None

    async def drain(self, worker: str) -> bool:
        return self._take("drain", worker)

    async def undrain(self, worker: str) -> bool:
        return self._take("undrain", worker)

    async def close(self) -> None:
        """There is nothing to close."""

    def _take(self, move: str, worker: str) -> bool:
        if self.error is not None:
            raise self.error
        self.calls.append((move, worker))
        return worker not in self.gone

    def taken(self) -> list[tuple[str, str]]:
        """The calls since this was asked last."""
        calls = self.calls[self._taken :]
        self._taken = len(self.calls)
        return calls


class FakeReader(Reader):
    """Has read what the test says."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.latest: Reading | Unread | None = None
        self.asked_at = 0.0


class FakeReaders(Readers):
    """One reader for all."""

    def __init__(self, reader: FakeReader) -> None:
        super().__init__(lambda address: reader.api)
        self._reader = reader

    def of(self, autoscaler: Autoscaler) -> Reader:
        return self._reader

    def asked_at(self, autoscaler: Autoscaler | InvalidSpec) -> float | None:
        return self._reader.asked_at


class FakeWatched(Watched):
    """Is complete when the test says so."""

    complete = True

    @property
    def synced(self) -> bool:
        return self.complete

    def reliable(self, namespace: str) -> bool:
        return self.complete


def watching(
    autoscalers: list[Json], deployments: list[Json], pods: list[Json], hpas: list[Json]
) -> FakeWatched:
    """The watch, complete, over these objects."""
    watched = FakeWatched([NAMESPACE])
    by_name: dict[Any, list[Body]] = {
        (NAMESPACE, deployment["metadata"]["name"]): [deployment] for deployment in deployments
    }
    watched.attach(
        {
            "autoscalers": {NAMESPACE: autoscalers},
            "deployments": by_name,
            "pods": {NAMESPACE: pods},
            "hpas": {NAMESPACE: hpas},
        }
    )
    return watched

"""Writes a Deployment's size by its scale subresource, and before a smaller one the deletion costs.

Server-side apply with a field manager of our own: the size survives when Helm drops the field. A
write holds only for the version of the Deployment that was looked at just before, so it never
overrules what somebody else has set meanwhile, and never shrinks in a rollout that has just begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from . import kube
from .kube import Json, Kube, KubeError
from .model import Decision
from .observe import Size, settled
from .resource import Body

COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
AT_ONCE = 10
"""Pods whose costs are under way at a time."""


class NotLeading(Exception):
    """The lead was lost in the middle of a round: nothing more may be written."""


@dataclass(frozen=True)
class Cost:
    """A pod's deletion cost, as of a version of the pod. None: it was never told one."""

    cost: str | None
    version: int

    @classmethod
    def of(cls, pod: Body) -> Cost:
        """A pod's."""
        metadata = pod["metadata"]
        annotations = metadata.get("annotations") or {}
        return cls(annotations.get(COST_ANNOTATION), int(metadata["resourceVersion"]))


def differing(
    wanted: Mapping[str, int], watched: Mapping[str, Cost], written: Mapping[str, Cost]
) -> dict[str, str]:
    """The costs that have to be written, by pod.

    Args:
        wanted: of all pods.
        watched: as the watch shows them; it may lag.
        written: what this process has written.
    """
    never = Cost(None, -1)
    found = {
        pod: max(watched.get(pod, never), written.get(pod, never), key=lambda one: one.version)
        for pod in wanted
    }
    return {pod: str(cost) for pod, cost in wanted.items() if found[pod].cost != str(cost)}


@dataclass
class Scaler:
    """What was written to one Deployment, and writes more.

    Args:
        kube: the connection.
        may_write: asked before each write, whether this process still leads.
    """

    kube: Kube
    may_write: Callable[[], bool]
    size: Size | None = None
    """The Deployment's size as last heard of here: a watch may show it later."""
    _costs: dict[str, Cost] = field(default_factory=dict)

    async def resize(
        self, deployment: Body, pods: Iterable[Body], replicas: int, decision: Decision
    ) -> bool:
        """Write the decision's size, if it is another one than was decided from.

        Args:
            deployment: as the watch shows it.
            pods: its pods, likewise.
            replicas: the size that was decided from.
            decision: what to write.

        Returns whether it was written. A smaller size waits for the Deployment's controller and for
        a rollout, and any for the next round when somebody changes the Deployment at the same
        moment. Raises KubeError, and NotLeading.
        """
        smaller = decision.written < replicas
        if decision.written == replicas or (smaller and not settled(deployment)):
            return False
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        if smaller:
            await self._set_costs(namespace, pods, decision.deletion_costs)
        found = await self.kube.get(kube.deployment(namespace, name))
        self.size = Size.of(found)
        if self.size.replicas != replicas or (smaller and not settled(found)):
            return False
        self._require_lead()
        body = _scale(namespace, name, found["metadata"]["resourceVersion"], decision.written)
        try:
            self.size = Size.of(await self.kube.apply(kube.scale(namespace, name), body))
        except KubeError as error:
            if error.status == 409:
                return False
            raise
        return True

    async def _set_costs(
        self, namespace: str, pods: Iterable[Body], wanted: Mapping[str, int]
    ) -> None:
        """All of them, or KubeError: a pod without its cost might go in the place of another."""
        watched = {pod["metadata"]["name"]: Cost.of(pod) for pod in pods}
        self._costs = {pod: cost for pod, cost in self._costs.items() if pod in watched}
        places = asyncio.Semaphore(AT_ONCE)

        async def set_cost(pod: str, cost: str) -> None:
            async with places:
                self._require_lead()
                body = {"metadata": {"annotations": {COST_ANNOTATION: cost}}}
                try:
                    self._costs[pod] = Cost.of(
                        await self.kube.merge(kube.pod(namespace, pod), body)
                    )
                except KubeError as error:
                    if error.status != 404:
                        raise

        due = differing(wanted, watched, self._costs)
        await asyncio.gather(*(set_cost(pod, cost) for pod, cost in due.items()))

    def _require_lead(self) -> None:
        if not self.may_write():
            raise NotLeading


def _scale(namespace: str, name: str, version: str, replicas: int) -> Json:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": version},
        "spec": {"replicas": replicas},
    }

"""Writes a Deployment's size by its scale subresource; before a smaller size, the deletion costs.

Server-side apply with a field manager of our own: the size survives when Helm drops the field. A
write holds only for the version of the Deployment that was looked at just before, so it never
overrules what somebody else has set meanwhile, and never shrinks in a rollout that has just begun.
Nor are pods trusted to a watch then: they are listed again before a smaller size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from controller import kube
from controller.decide import ACKNOWLEDGED_COST, STAYING_COST
from controller.each import each
from controller.kube import Json, Kube, KubeError
from controller.model import Decision
from controller.observe import Size, counted, settled
from controller.resource import Body

COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
LOWEST_COST, WORKING_COST = str(ACKNOWLEDGED_COST), str(STAYING_COST)
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


def newest_costs(watched: Mapping[str, Cost], written: Mapping[str, Cost]) -> dict[str, Cost]:
    """What is known of costs, by pod.

    Args:
        watched: as the watch shows them; it may lag.
        written: what this process has written.
    """
    return {
        pod: max(cost, written.get(pod, cost), key=lambda cost: cost.version)
        for pod, cost in watched.items()
    }


def differing(wanted: Mapping[str, int], written: Mapping[str, Cost]) -> dict[str, str]:
    """The costs that have to be written, by pod: the wanted ones that are not known to stand."""
    return {
        pod: str(cost)
        for pod, cost in wanted.items()
        if pod not in written or written[pod].cost != str(cost)
    }


@dataclass(frozen=True)
class Scaled:
    """A size was written."""

    before: int
    after: int


@dataclass(frozen=True)
class Waits:
    """A size that was decided is not written yet, and why."""

    why: str


_UNSETTLED = Waits(
    "the Deployment's controller has not looked at its newest version, or a rollout is under way:"
    " see that kube-controller-manager runs"
)
_CHANGED = Waits("somebody else changes the Deployment at the same time: see who")
_LAGS = Waits("the watch does not show the Deployment's pods as they are: see the operator's log")


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
    _unanswered: Scaled | None = None
    """A size whose write had no answer that tells: it may have been written."""

    async def resize(
        self, deployment: Body, pods: Iterable[Body], replicas: int, decision: Decision
    ) -> Scaled | Waits | None:
        """Write the decision's size, if it is another one than was decided from.

        Args:
            deployment: as the watch shows it.
            pods: those of its namespace, likewise.
            replicas: the size that was decided from.
            decision: what to write.

        Returns what was written, now or by an earlier call that failed to hear of it; None: there
        is nothing to write. A smaller size waits for the Deployment's controller, for a rollout and
        for a watch that lags, and any for the next round when somebody changes the Deployment at
        the same moment. Raises KubeError, and NotLeading.
        """
        if landed := self._landed(replicas):
            return landed
        if decision.written == replicas:
            self._unanswered = None
            return None
        smaller, pods = decision.written < replicas, list(pods)
        if smaller and not settled(deployment):
            return _UNSETTLED
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        if smaller:
            costs = self._known_costs(counted(deployment, pods))
            self._costs = {pod: cost for pod, cost in self._costs.items() if pod in costs}
            await self._set_costs(namespace, differing(decision.deletion_costs, costs))
        found = await self.kube.get(kube.deployment(namespace, name))
        self.size = Size.of(found)
        if self.size.replicas != replicas:
            return self._landed(self.size.replicas) or _CHANGED
        if smaller and not settled(found):
            return _UNSETTLED
        if smaller and not await self._knows_all_pods(found, pods):
            return _LAGS
        self._require_lead()
        body = _scale(namespace, name, found["metadata"]["resourceVersion"], decision.written)
        written = Scaled(replicas, decision.written)
        try:
            self.size = Size.of(await self.kube.apply(kube.scale(namespace, name), body))
        except KubeError as error:
            if error.status == 409:
                return _CHANGED
            if error.status == 0 or error.status >= 500:
                self._unanswered = written
            raise
        self._unanswered = None
        return written

    async def restore(self, namespace: str, pods: Iterable[Body], working: Collection[str]) -> None:
        """Take the lowest cost from pods that work again, so that no smaller size takes them.

        Args:
            namespace: the Deployment's.
            pods: those in it, as the watch shows them.
            working: the names of the Deployment's that work, or shall.

        Calls nobody when none has it. Raises KubeError, and NotLeading.
        """
        costs = self._known_costs(pod for pod in pods if pod["metadata"]["name"] in working)
        lowest = [pod for pod, cost in costs.items() if cost.cost == LOWEST_COST]
        await self._set_costs(namespace, dict.fromkeys(lowest, WORKING_COST))

    def _landed(self, replicas: int) -> Scaled | None:
        """The write that had no answer, if this is the size that it was for."""
        landed = self._unanswered
        if landed is None or landed.after != replicas:
            return None
        self._unanswered = None
        return landed

    async def _knows_all_pods(self, deployment: Body, watched: Iterable[Body]) -> bool:
        """Whether the pods are still those that were decided from, by a list of this moment.

        A pod that the watch does not know has no cost, and none of its work is known.
        """
        watched_uids = {pod["metadata"]["uid"] for pod in watched}
        seen = {pod["metadata"]["uid"] for pod in counted(deployment, watched)}
        listed = await self.kube.metadata(
            kube.pods(deployment["metadata"]["namespace"]),
            labels=label_selector(deployment["spec"]["selector"]),
        )
        there = {
            pod["metadata"]["uid"]
            for pod in counted(deployment, [{"metadata": metadata} for metadata in listed])
        }
        # Metadata does not tell who has ended; but a pod that the watch shows ended, or being
        # deleted, stays so.
        return there - (watched_uids - seen) == seen

    def _known_costs(self, pods: Iterable[Body]) -> dict[str, Cost]:
        watched = {pod["metadata"]["name"]: Cost.of(pod) for pod in pods}
        return newest_costs(watched, self._costs)

    async def _set_costs(self, namespace: str, due: Mapping[str, str]) -> None:
        """All of them, or KubeError: a pod without its cost might go in the place of another."""

        async def set_cost(pod: str) -> None:
            self._require_lead()
            cost = due[pod]
            body = {"metadata": {"annotations": {COST_ANNOTATION: cost}}}
            try:
                self._costs[pod] = Cost.of(await self.kube.merge(kube.pod(namespace, pod), body))
            except KubeError as error:
                if error.status != 404:
                    raise

        await each(due, set_cost, at_once=AT_ONCE)

    def _require_lead(self) -> None:
        if not self.may_write():
            raise NotLeading


def label_selector(selector: Body) -> str:
    """A LabelSelector as a query has it: "app=workers,tier in (a,b),!canary"."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        parts.append(forms.get(expression["operator"], f"!{key}"))
    return ",".join(parts)


def _scale(namespace: str, name: str, version: str, replicas: int) -> Json:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": version},
        "spec": {"replicas": replicas},
    }

"""Our decision function at the simulated cluster: what the operator's loop does each second."""

from __future__ import annotations

from benchmarks.scaling import cluster as world
from controller.decide import History, decide
from controller.model import Observation, Pod, Queue, Reading, Reason, Spec, Unread, Worker
from headrace.taskqueue.stats import RunningTask, expected_free_seconds


class Ours:
    """`controller.decide`, with the resource's defaults but for max and concurrency."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.history = History()

    def tick(self, cluster: world.Cluster, now: float) -> None:
        """Reads, decides, marks, writes."""
        pods = {pod.name: pod for pod in cluster.pods if not pod.terminating}
        observation = Observation(
            reading=reading(cluster, now),
            at=now,
            replicas=cluster.replicas,
            pods=tuple(
                Pod(name, pod.started, started_at=pod.created) for name, pod in pods.items()
            ),
        )
        decision, self.history = decide(observation, self.history, self.spec, now)
        for name in decision.drain:
            cluster.drain(pods[name])
        for name in decision.undrain:
            cluster.undrain(pods[name])
        cluster.scale(decision.written, decision.deletion_costs)


def reading(cluster: world.Cluster, now: float) -> Reading | Unread:
    """What the stats endpoint would reply."""
    if not cluster.available:
        return Unread(Reason.STATS_UNAVAILABLE, "Redis is away")
    totals, ago = cluster.totals[-1], cluster.totals[0]
    ended = totals.ended - ago.ended
    mean = (totals.service_seconds - ago.service_seconds) / ended if ended else None
    queue = Queue(
        queue_length=len(cluster.waiting),
        running=0 if cluster.forgotten else cluster.running,
        arrivals_per_minute=totals.arrived - ago.arrived,
        completions_per_minute=ended,
        crashes_per_minute=totals.crashed - ago.crashed,
        service_seconds_mean=mean,
        arrivals_total=totals.arrived,
        completions_total=totals.ended,
        crashes_total=totals.crashed,
        service_seconds_total=totals.service_seconds,
    )
    workers = () if cluster.forgotten else tuple(_workers(cluster, now, mean))
    return Reading(at=now, epoch=cluster.epoch, queues={"tasks": queue}, workers=workers)


def _workers(cluster: world.Cluster, now: float, mean: float | None) -> list[Worker]:
    means = {"tasks": mean}
    return [
        Worker(
            id=pod.name,
            pod=pod.name,
            concurrency=cluster.concurrency,
            busy_slots=len(pod.running),
            draining=pod.draining,
            drained=pod.draining and not pod.running,
            expected_free_seconds=expected_free_seconds(int(now * 1000), _running(pod), means),
        )
        for pod in cluster.pods
        if pod.started
    ]


def _running(pod: world.Pod) -> list[RunningTask]:
    return [
        RunningTask(id="", type="tasks", fence=1, attempt=1, started_at_ms=int(since * 1000))
        for since in pod.running.values()
    ]

"""How many workers there should be, which of them may go, and why: the whole decision, pure.

The model. By Little's law (L = λ·W; J. D. C. Little, Operations Research 9, 1961), attempts that
arrive at λ a second and hold a slot for S seconds keep λ·S slots busy. Working off Q waiting ones
within T seconds takes Q·S/T more: the "backlog per instance" of Amazon's guide to scaling by SQS,
turned into slots. And more slots than tasks are of no use. So, for each queue and added up:

    slots = min(λ·S + (Q/T)·S, Q + running + due soon)        wanted = ⌈slots / c⌉

with c the tasks that a worker runs at once; at least one worker if there is any task; then the
bounds. A queue of unknown S takes the second term. λ and S are measured in `rates.py`.

A retry storm, or a backlog that kills its workers, does not scale up: while retries and crashes
outnumber completions (60 s), only first attempts count, and one worker is kept for the rest.

Up at once. Down to the most that was wanted within the stabilization window, as a
HorizontalPodAutoscaler does, and only if a tenth more load would not need the worker again (its
tolerance). To zero after the cooldown. What is not known shrinks nothing: without a reading the
size is held, and window and cooldown begin again after it, as they do at the first look, when Redis
has lost its data (another epoch), and when somebody else has set the size.

Workers too many are drained: those that have acknowledged stay marked, idle ones come next, then
those soonest free. What is written never falls below the workers that have not acknowledged.

Three rules lie elsewhere: which acknowledgement counts (`marks.corrected`), when a pod has started
and is ready (`observe`), and that a smaller size waits for the Deployment's controller (`scale`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.model import (
    Decision,
    Load,
    Observation,
    Queue,
    QueueRates,
    Reading,
    Reason,
    Sizing,
    Spec,
    Unread,
    Worker,
)
from controller.rates import QueueHistory, observe, rates

Queues = Mapping[str, Queue]
Window = tuple[tuple[float, int], ...]

TOLERANCE = 0.1
"""A worker goes only if so much more load would not need it: HPA's default tolerance."""
STALE_SECONDS = 30.0
"""A reading that is this much older than the operator's clock does not count."""
STANDSTILL_SECONDS = 5.0
"""Neither does a reading whose time stands still for so long. A shorter gap is not an outage:
StatsAvailable stays and the window goes on. Else a poll lost each minute would stop all
shrinking."""
SOON_FREE_SECONDS = 5.0
"""A draining worker expected to be free so soon is as good as an idle one."""
REGISTERS_SECONDS = 30.0
"""A pod that runs, or is made, for longer and is not in the stats is not waited for any more."""
ACKNOWLEDGED_COST = -1000
"""Deletion cost of a pod that may go. Below 0, which a pod has that was never told one."""
STAYING_COST = 1


@dataclass(frozen=True)
class History:
    """What is remembered between decisions.

    In memory only: a new operator begins with an empty one, and holds what it finds for a window.
    Times are by the monotonic clock, but for Redis's.
    """

    target: int = 0
    replicas: int | None = None
    """As found at the last decision; None: there was none."""
    written: int | None = None
    epoch: str | None = None
    reading_at: float | None = None
    """Redis's time in the last reading."""
    advanced_at: float = -math.inf
    """When a reading's time last went on."""
    active_at: float = 0.0
    """When there was last any work, or anything else that starts the cooldown again."""
    window: Window = ()
    """What was wanted, and when: only entries that none later exceeds."""
    queues: Mapping[str, QueueHistory] = field(default_factory=dict)


def decide(
    observation: Observation, history: History, spec: Spec, now: float
) -> tuple[Decision, History]:
    """The decision, and what to remember for the next. `now` is the operator's monotonic clock."""
    history = _adopted(observation, history, spec, now)
    reading = _usable(observation, history, now)
    if isinstance(reading, Unread):
        decision, history = _without_reading(observation, reading, history, spec, now)
    else:
        decision, history = _from_reading(observation, reading, history, spec, now)
    decision = _held_back(decision, observation, spec)
    written = decision.written if decision.act else observation.replicas
    return decision, replace(
        history, target=decision.target, replicas=observation.replicas, written=written
    )


def load(queues: Queues, rates_by_queue: Mapping[str, QueueRates], spec: Spec, c: int) -> Load:
    """The model: how many workers the queues ask for, before bounds, window and cooldown."""
    again = sum(queue.retries_per_minute + queue.crashes_per_minute for queue in queues.values())
    storm = again > sum(queue.completions_per_minute for queue in queues.values())
    demand = work = 0
    steady = backlog = slots = kept = 0.0
    for name, queue in queues.items():
        rate = rates_by_queue[name]
        everything = queue.queue_length + queue.running + queue.due_soon
        demand += everything
        # In a storm what is due soon is mostly retries: it keeps one worker, like those that wait.
        waiting = queue.queue_length - queue.queue_length_retries if storm else queue.queue_length
        at_hand = waiting + queue.running if storm else everything
        work += at_hand
        seconds = rate.service_seconds
        if seconds is None or spec.tasks_per_replica is not None:
            slots += at_hand
            kept += at_hand
            continue
        arrivals = rate.first_attempts_per_second if storm else rate.attempts_per_second
        keep_up, work_off = arrivals * seconds, waiting * seconds / spec.drain_seconds
        steady, backlog = steady + keep_up, backlog + work_off
        slots += min(keep_up + work_off, at_hand)
        kept += min((keep_up + work_off) * (1 + TOLERANCE), at_hand)
    per_worker = max(spec.tasks_per_replica or c, c)
    needs_one = 1 if demand else 0
    wanted = max(_ceil(slots / per_worker), needs_one)
    if not demand:
        reason, message = Reason.NO_WORK, "no task waits, runs or is due soon"
    elif storm and not work:
        reason = Reason.RETRIES_ONLY
        message = f"{demand} tasks to retry, and retries outnumber completions: one worker"
    elif spec.tasks_per_replica is not None:
        reason = Reason.TASKS_PER_REPLICA
        message = f"{work} tasks queued, running or due soon, {per_worker} a worker"
    elif slots >= work:
        reason = Reason.WORK_AT_HAND
        message = f"{work} tasks queued, running or due soon, {c} a worker at once"
    else:
        reason = Reason.DRAIN_TIME
        message = (
            f"{steady:.1f} slots keep up with arrivals and {backlog:.1f} more work off the backlog"
            f" within {spec.drain_seconds:g} s, {c} a worker"
        )
    if storm and work:
        message += "; retries outnumber completions: only first attempts count"
    unknown = [name for name in spec.queues if name not in queues]
    if unknown:
        # Mistyped, or no worker has ever served it: that cannot be told apart.
        message += f"; the API knows no queue {' or '.join(unknown)}"
    return Load(
        demand, wanted, max(_ceil(kept / per_worker), needs_one), reason, message, rates_by_queue
    )


def _from_reading(
    observation: Observation, reading: Reading, history: History, spec: Spec, now: float
) -> tuple[Decision, History]:
    chosen = spec.queues or reading.queues
    queues = {name: queue for name, queue in reading.queues.items() if name in chosen}
    history = _remember(history, reading, queues, now)
    pods = {pod.name for pod in observation.pods}
    workers = [worker for worker in reading.workers if worker.pod in pods]
    rates_by_queue = {name: rates(history.queues[name], queue) for name, queue in queues.items()}
    asked = load(queues, rates_by_queue, spec, _concurrency(workers, spec))
    window = _window(history.window, now, _bounded(asked.kept, spec), spec.stabilization_seconds)
    history = replace(history, window=window, active_at=now if asked.demand else history.active_at)
    target, reason, message = _calmed(asked, history, spec, now)
    sizing = _sized(observation, workers, target)
    if sizing.kept:
        reason, message = sizing.kept[0], f"{sizing.kept[1]}; then {message}"
    decision = Decision(
        target=target,
        written=sizing.written,
        wanted=_bounded(asked.wanted, spec),
        act=True,
        drain=sizing.drain,
        undrain=sizing.undrain,
        deletion_costs=sizing.deletion_costs,
        reason=reason,
        message=message,
        limited=_limited(asked.wanted, sizing.written, spec),
        stats_available=True,
        demand=asked.demand,
        rates=rates_by_queue,
    )
    return decision, history


def _calmed(asked: Load, history: History, spec: Spec, now: float) -> tuple[int, Reason, str]:
    """The target within bounds, window and cooldown, and why."""
    wanted = _bounded(asked.wanted, spec)
    target, reason, message = wanted, asked.reason, f"{_workers(wanted)}: {asked.message}"
    if wanted < history.target:
        target = min(history.target, max(wanted, history.window[0][1]))
        if target > wanted:
            reason = Reason.STABILIZING
            message = (
                f"{_workers(target)} kept: so many were wanted, or found, in the last"
                f" {spec.stabilization_seconds:g} s; now {wanted}: {asked.message}"
            )
        idle = now - history.active_at
        if target == 0 and idle < spec.cooldown_seconds:
            target, reason = 1, Reason.COOLING_DOWN
            message = f"1 worker kept: no work for {idle:.0f} of {spec.cooldown_seconds:g} s"
    return target, reason, message


def _limited(asked: int, written: int, spec: Spec) -> str | None:
    if written > spec.max_replicas:
        return f"{written} stay until they have drained, max is {spec.max_replicas}"
    if asked > spec.max_replicas:
        return f"{asked} wanted, max is {spec.max_replicas}"
    if asked < spec.min_replicas:
        return f"{asked} wanted, min is {spec.min_replicas}"
    return None


def _without_reading(
    observation: Observation, unread: Unread, history: History, spec: Spec, now: float
) -> tuple[Decision, History]:
    """Holds the size. A raised minimum, or a fallback in an outage, can only raise it."""
    available = now - history.advanced_at < STANDSTILL_SECONDS
    fallback = 0 if available else spec.fallback_replicas or 0
    target = _bounded(max(history.target, fallback), spec)
    written = max(target, observation.replicas)
    how = f", raised from {history.target}" if target > history.target else " held"
    limited = None
    if written > spec.max_replicas:
        limited = f"{written} stay while the stats are away, max is {spec.max_replicas}"
    if not available:
        window = _window(history.window, now, target, spec.stabilization_seconds)
        history = replace(history, window=window, active_at=now)
    decision = Decision(
        target=target,
        written=written,
        wanted=target,
        act=True,
        reason=unread.reason,
        message=f"{_workers(written)}{how}: {unread.message}",
        limited=limited,
        stats_available=available,
        unread=unread,
    )
    return decision, history


def _held_back(decision: Decision, observation: Observation, spec: Spec) -> Decision:
    """The decision, only told and not acted on, if nothing may be done."""
    if observation.conflict:
        reason, why = Reason.CONFLICT, f"{observation.conflict} scales the same workers"
    elif observation.paused:
        reason, why = Reason.PAUSED, f"paused at {observation.replicas}"
    else:
        return replace(decision, act=False) if spec.dry_run else decision
    message = f"{why}; without it: {decision.message}"
    return replace(decision, act=False, reason=reason, message=message)


def _sized(observation: Observation, workers: Sequence[Worker], target: int) -> Sizing:
    """Who is to drain, and what may be written, for a target."""
    by_pod: dict[str, list[Worker]] = {}
    for worker in workers:
        by_pod.setdefault(worker.pod or "", []).append(worker)
    pods, replicas = observation.pods, observation.replicas
    # What the stats say of a worker goes before what the kubelet says of its pod: that may lag.
    empty = {pod.name for pod in pods if not pod.started and pod.name not in by_pod}
    silent = [pod for pod in pods if pod.started and pod.name not in by_pod]
    # A pod that a smaller size has taken is about to end: marked still, though demand is back. And
    # nobody stops working for a rollout that may never end.
    going = len(pods) - len(empty) - replicas
    surplus = 0 if observation.rolling_out else max(len(by_pod) - target, going, 0)
    leaving = sorted(by_pod, key=lambda pod: _leaves_before(pod, by_pod[pod]))[:surplus]
    may_go = empty | {pod for pod in leaving if all(worker.drained for worker in by_pod[pod])}
    # Just after a smaller size was written the pods that go are still there, and just after a
    # larger one some are not there yet: whichever is more may have work. Yet that makes no size
    # larger: a rollout's pods come on top of the size, and would come again on top of those.
    stay = max(replicas, len(pods)) - len(may_go)
    written = max(target, min(stay, replicas))
    kept = _held(observation, by_pod.keys(), may_go) if target < replicas else None
    unheard = written - max(target, min(stay - len(silent), replicas))
    if kept:
        written = max(written, replicas)
    elif unheard:
        kept = Reason.NOT_REGISTERED, f"{unheard} kept that are not in the stats"
    costs = {pod.name: ACKNOWLEDGED_COST if pod.name in may_go else STAYING_COST for pod in pods}
    drain = tuple(worker.id for pod in leaving for worker in by_pod[pod])
    return Sizing(
        written=written,
        drain=drain,
        undrain=tuple(w.id for w in workers if w.draining and w.id not in drain),
        deletion_costs=costs if written < replicas else {},
        kept=kept,
    )


def _held(
    observation: Observation, registered: Collection[str], may_go: Collection[str]
) -> tuple[Reason, str] | None:
    """Why no smaller size can be written, whoever may go: another might be taken in its place."""
    kept = f"{observation.replicas} kept"
    if observation.rolling_out:
        return Reason.ROLLING_OUT, f"{kept} during a rollout"
    for pod in observation.pods:
        if pod.ready and pod.name not in may_go:
            continue
        if pod.name in registered:
            if pod.name not in may_go:
                return Reason.BUSY_NOT_READY, f"{kept} while a worker at work is not ready"
            continue
        # It may have started and registered since. By two clocks: either may be ahead.
        since = observation.at - (pod.started_at or -math.inf)
        if abs(since) < REGISTERS_SECONDS:
            return Reason.NOT_REGISTERED, f"{kept} while a worker that starts is not in the stats"
    return None


def _leaves_before(pod: str, workers: Sequence[Worker]) -> tuple[int, bool, float, int, str]:
    """Sort key: acknowledged, then idle or as good as idle, then soonest free, unknown last.

    What drains already comes first among equals, so that the choice stays. Yet a worker that turned
    idle takes the place of one that has hours to go, and one that is expected free, which costs the
    mean at most, that of one whose task is past the mean, which may cost hours.
    """
    busy = sum(worker.busy_slots for worker in workers)
    draining = all(worker.draining for worker in workers)
    # An API of version 0.2.0 tells an overdue task by a 0.
    free = max(w.expected_free_seconds or math.inf if w.busy_slots else 0.0 for w in workers)
    if all(worker.drained for worker in workers):
        place = 0
    elif busy == 0 or (draining and free <= SOON_FREE_SECONDS):
        place = 1
    else:
        place = 2 if free < math.inf else 3
    return (place, not draining, free, busy, pod)


def _adopted(observation: Observation, history: History, spec: Spec, now: float) -> History:
    """The history, a size found at first or set by somebody else counting as the last target."""
    if observation.replicas in (history.replicas, history.written):
        return replace(history, target=_bounded(history.target, spec))
    size = _bounded(observation.replicas, spec)
    return replace(history, target=size, window=((now, size),), active_at=now)


def _usable(observation: Observation, history: History, now: float) -> Reading | Unread:
    """The reading, unless its time tells that it is old."""
    reading = observation.reading
    if isinstance(reading, Unread):
        return reading
    age = observation.at - reading.at
    if age > STALE_SECONDS:
        return Unread(
            Reason.STATS_STALE,
            f"the stats are {age:.0f} s old, or the clocks of Redis and the operator differ",
        )
    still = now - history.advanced_at
    if reading.at == history.reading_at and still >= STANDSTILL_SECONDS:
        return Unread(Reason.STATS_STALE, f"the time in the stats stands still for {still:.0f} s")
    return reading


def _remember(history: History, reading: Reading, queues: Queues, now: float) -> History:
    """The history with this reading. What a Redis that has forgotten says shrinks nothing yet."""
    if reading.epoch != history.epoch:
        window = ((now, history.target),)
        history = replace(history, epoch=reading.epoch, queues={}, window=window, active_at=now)
    remembered = {
        name: observe(history.queues.get(name, QueueHistory()), queue, reading.at)
        for name, queue in queues.items()
    }
    advanced_at = history.advanced_at if reading.at == history.reading_at else now
    return replace(history, queues=remembered, reading_at=reading.at, advanced_at=advanced_at)


def _window(window: Window, now: float, size: int, seconds: float) -> Window:
    """The window with one more size: its first entry is the largest (a monotonic queue)."""
    larger = [entry for entry in window if entry[1] > size and now - entry[0] < seconds]
    return (*larger, (now, size))


def _concurrency(workers: Sequence[Worker], spec: Spec) -> int:
    """Tasks a worker runs at once; the smallest, when they differ in a rollout."""
    return max(min((worker.concurrency for worker in workers), default=spec.concurrency), 1)


def _bounded(size: int, spec: Spec) -> int:
    return min(max(size, spec.min_replicas), spec.max_replicas)


def _ceil(value: float) -> int:
    """Rounded up, but for what floating point adds to a whole number."""
    return math.ceil(value - 1e-9)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"

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
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .model import (
    Decision,
    Load,
    Observation,
    Queue,
    QueueRates,
    Reading,
    Reason,
    Spec,
    Unread,
    Worker,
)
from .rates import QueueHistory, observe, rates

TOLERANCE = 0.1
"""A worker goes only if so much more load would not need it: HPA's default tolerance."""
STALE_SECONDS = 30.0
"""A reading this much older than the operator's clock is none."""
STANDSTILL_SECONDS = 5.0
"""Nor is one whose time stands still for so long. A shorter gap is no outage: StatsAvailable stays
and the window goes on, or a poll lost each minute would stop all shrinking."""
SOON_FREE_SECONDS = 5.0
"""A draining worker expected to be free so soon is as good as an idle one."""
ACKNOWLEDGED_COST = -1000
"""Deletion cost of a pod that may go. Below 0, which a pod has that was never told one."""


@dataclass(frozen=True)
class History:
    """What is remembered between decisions.

    In memory only: a new operator begins with an empty one, and holds what it finds for a window.
    """

    target: int | None = None
    replicas: int | None = None
    written: int | None = None
    epoch: str | None = None
    reading_at: float | None = None
    """Redis's time in the last reading."""
    advanced_at: float | None = None
    """When a reading's time last went on, by the operator's clock."""
    active_at: float = 0.0
    """When there was last any work, or anything else that starts the cooldown again."""
    window: tuple[tuple[float, int], ...] = ()
    """What was wanted, and when: only entries that none later exceeds."""
    queues: Mapping[str, QueueHistory] = field(default_factory=dict)


def decide(
    observation: Observation, history: History, spec: Spec, now: float
) -> tuple[Decision, History]:
    """The decision, and what to remember for the next one.

    Args:
        observation: what is known now.
        history: what the last call returned; `History()` at first.
        spec: the resource's spec.
        now: the operator's clock.
    """
    history = _adopted(observation, history, spec, now)
    reading = _usable(observation.reading, history, now)
    if isinstance(reading, Unread):
        decision, history = _without_reading(observation, reading, history, spec, now)
    else:
        decision, history = _from_reading(observation, reading, history, spec, now)
    decision = _held_back(decision, observation, spec)
    written = decision.written if decision.act else observation.replicas
    return decision, replace(
        history, target=decision.target, replicas=observation.replicas, written=written
    )


def load(queues: Mapping[str, Queue], known: Mapping[str, QueueRates], spec: Spec, c: int) -> Load:
    """The model: how many workers the queues ask for, before bounds, window and cooldown."""
    again = sum(queue.retries_per_minute + queue.crashes_per_minute for queue in queues.values())
    storm = again > sum(queue.completions_per_minute for queue in queues.values())
    demand = work = 0
    steady = backlog = slots = kept = 0.0
    for name, queue in queues.items():
        queue_rates = known[name]
        everything = queue.queue_length + queue.running + queue.due_soon
        demand += everything
        # In a storm what is due soon is mostly retries: it keeps one worker, like those that wait.
        waiting = queue.queue_length - queue.queue_length_retries if storm else queue.queue_length
        at_hand = waiting + queue.running if storm else everything
        work += at_hand
        seconds = queue_rates.service_seconds
        if seconds is None or spec.tasks_per_replica is not None:
            slots += at_hand
            kept += at_hand
            continue
        arrivals = (
            queue_rates.first_attempts_per_second if storm else queue_rates.attempts_per_second
        )
        steady += arrivals * seconds
        backlog += waiting * seconds / spec.drain_seconds
        needed = arrivals * seconds + waiting * seconds / spec.drain_seconds
        slots += min(needed, at_hand)
        kept += min(needed * (1 + TOLERANCE), at_hand)
    per_worker = max(spec.tasks_per_replica or c, c)
    needs_one = 1 if demand else 0
    wanted = max(_ceil(slots / per_worker), needs_one)
    if not demand:
        reason, message = Reason.NO_WORK, "no task waits, runs or is due soon"
    elif storm and not work:
        reason = Reason.RETRIES_ONLY
        message = f"{demand} tasks to try again and retries outnumber completions: one worker"
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
    kept_workers = max(_ceil(kept / per_worker), needs_one)
    return Load(demand, wanted, kept_workers, reason, message, known)


def _from_reading(
    observation: Observation, reading: Reading, history: History, spec: Spec, now: float
) -> tuple[Decision, History]:
    queues = {
        name: queue
        for name, queue in reading.queues.items()
        if not spec.queues or name in spec.queues
    }
    history = _remember(history, reading, queues, now)
    pods = {pod.name for pod in observation.pods}
    workers = [worker for worker in reading.workers if worker.pod in pods]
    known = {name: rates(history.queues[name], queue) for name, queue in queues.items()}
    asked = load(queues, known, spec, _concurrency(workers, spec))
    wanted, kept = _bounded(asked.wanted, spec), _bounded(asked.kept, spec)
    window = _window(history.window, now, kept, spec.stabilization_seconds)
    active_at = now if asked.demand else history.active_at
    current = history.target or 0
    target, reason, message = wanted, asked.reason, f"{_workers(wanted)}: {asked.message}"
    if wanted < current:
        target = min(current, max(wanted, window[0][1]))
        if target > wanted:
            reason = Reason.STABILIZING
            message = (
                f"{_workers(target)} kept: so many were wanted, or found, in the last"
                f" {spec.stabilization_seconds:g} s; now {wanted}: {asked.message}"
            )
        idle = now - active_at
        if target == 0 and idle < spec.cooldown_seconds:
            target, reason = 1, Reason.COOLING_DOWN
            message = f"1 worker kept: no work for {idle:.0f} of {spec.cooldown_seconds:g} s"
    limited = None
    if asked.wanted > wanted:
        limited = f"{asked.wanted} wanted, max is {spec.max_replicas}"
    elif asked.wanted < wanted:
        limited = f"{asked.wanted} wanted, min is {spec.min_replicas}"
    held = _shrink_held(observation, workers)
    if held and target < observation.replicas:
        reason, message = held[0], f"{observation.replicas} kept {held[1]}; then {message}"
    decision = _sized(observation, workers, target, held is None)
    if decision.written > spec.max_replicas:
        limited = f"{decision.written} stay until they have drained, max is {spec.max_replicas}"
    decision = replace(
        decision,
        wanted=wanted,
        reason=reason,
        message=message,
        limited=limited,
        demand=asked.demand,
        rates=known,
    )
    return decision, replace(history, window=window, active_at=active_at)


def _without_reading(
    observation: Observation, unread: Unread, history: History, spec: Spec, now: float
) -> tuple[Decision, History]:
    """Holds the size. A fallback, or a raised minimum, can only raise it."""
    current = history.target or 0
    held = max(current, _bounded(spec.fallback_replicas or 0, spec))
    target = _bounded(held, spec)
    written = max(target, observation.replicas)
    message = f"{_workers(written)} held: {unread.message}"
    if target > current:
        message = f"{_workers(written)}, raised from {current}: {unread.message}"
    limited = None
    if written > spec.max_replicas:
        limited = f"{written} stay while the stats are away, max is {spec.max_replicas}"
    seen = history.advanced_at
    available = seen is not None and now - seen < STANDSTILL_SECONDS
    if not available:
        window = _window(history.window, now, target, spec.stabilization_seconds)
        history = replace(history, window=window, active_at=now)
    decision = Decision(
        target=target,
        written=written,
        wanted=target,
        act=True,
        reason=unread.reason,
        message=message,
        limited=limited,
        stats_available=available,
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


def _shrink_held(observation: Observation, workers: Sequence[Worker]) -> tuple[Reason, str] | None:
    """Why a smaller size cannot be written now, whatever has acknowledged."""
    if observation.rolling_out:
        return Reason.ROLLING_OUT, "during a rollout"
    at_work = {worker.pod for worker in workers if not worker.drained}
    if any(pod.started and not pod.ready and pod.name in at_work for pod in observation.pods):
        return Reason.BUSY_NOT_READY, "while a worker at work is not ready"
    return None


def _sized(
    observation: Observation, workers: Sequence[Worker], target: int, may_shrink: bool
) -> Decision:
    """Who is to drain, and what may be written, for a target."""
    by_pod: dict[str, list[Worker]] = {}
    for worker in workers:
        by_pod.setdefault(worker.pod or "", []).append(worker)
    started = sum(pod.started for pod in observation.pods)
    # Nobody stops working for a rollout that may never end.
    surplus = 0 if observation.rolling_out else max(started - target, 0)
    leaving = sorted(by_pod, key=lambda pod: _leaves_before(pod, by_pod[pod]))[:surplus]
    acknowledged = {pod for pod in leaving if all(worker.drained for worker in by_pod[pod])}
    acknowledged |= {pod.name for pod in observation.pods if not pod.started}
    # Just after a smaller size was written the pods that go are still there, and just after a
    # larger one some are not there yet: whichever is more may have work. Yet that makes no size
    # larger: a rollout's pods come on top of the size, and would come again on top of those.
    present = max(observation.replicas, len(observation.pods))
    written = max(target, min(present - len(acknowledged), observation.replicas))
    if not may_shrink:
        written = max(written, observation.replicas)
    drain = tuple(worker.id for pod in leaving for worker in by_pod[pod])
    costs = {
        pod.name: ACKNOWLEDGED_COST
        if pod.name in acknowledged
        else 1 + sum(worker.busy_slots for worker in by_pod.get(pod.name, ()))
        for pod in observation.pods
    }
    return Decision(
        target=target,
        written=written,
        wanted=target,
        act=True,
        drain=drain,
        undrain=tuple(w.id for w in workers if w.draining and w.id not in drain),
        deletion_costs=costs if written < observation.replicas else {},
        reason=Reason.DRAIN_TIME,
        message="",
        stats_available=True,
    )


def _leaves_before(pod: str, workers: Sequence[Worker]) -> tuple[int, bool, float, int, str]:
    """Sort key: acknowledged, then idle or as good as idle, then soonest free.

    What drains already comes first among equals, so that the choice stays. Yet a worker that turned
    idle takes the place of one that has hours to go.
    """
    busy = sum(worker.busy_slots for worker in workers)
    draining = all(worker.draining for worker in workers)
    free = max(_free_in(worker) for worker in workers)
    place = 2
    if all(worker.drained for worker in workers):
        place = 0
    elif busy == 0 or (draining and free <= SOON_FREE_SECONDS):
        place = 1
    return (place, not draining, free, busy, pod)


def _free_in(worker: Worker) -> float:
    if worker.busy_slots == 0:
        return 0.0
    return math.inf if worker.expected_free_seconds is None else worker.expected_free_seconds


def _adopted(observation: Observation, history: History, spec: Spec, now: float) -> History:
    """The history, a size found at first or set by somebody else counting as the last target."""
    expected = (history.replicas, history.written)
    if history.target is not None and observation.replicas in expected:
        return replace(history, target=_bounded(history.target, spec))
    size = _bounded(observation.replicas, spec)
    return replace(history, target=size, window=((now, size),), active_at=now)


def _usable(reading: Reading | Unread, history: History, now: float) -> Reading | Unread:
    """The reading, unless its time tells that it is old."""
    if isinstance(reading, Unread):
        return reading
    age = now - reading.at
    if age > STALE_SECONDS:
        return Unread(
            Reason.STATS_STALE,
            f"the stats are {age:.0f} s old, or the clocks of Redis and the operator differ",
        )
    if history.reading_at is None or history.advanced_at is None:
        return reading
    still = now - history.advanced_at
    if reading.at == history.reading_at and still >= STANDSTILL_SECONDS:
        return Unread(Reason.STATS_STALE, f"the time in the stats stands still for {still:.0f} s")
    return reading


def _remember(
    history: History, reading: Reading, queues: Mapping[str, Queue], now: float
) -> History:
    """The history with this reading. What a Redis that has forgotten says shrinks nothing yet."""
    if reading.epoch != history.epoch:
        size = history.target or 0
        history = replace(
            history, epoch=reading.epoch, queues={}, window=((now, size),), active_at=now
        )
    remembered = {
        name: observe(history.queues.get(name, QueueHistory()), queue, reading.at)
        for name, queue in queues.items()
    }
    if reading.at == history.reading_at:
        return replace(history, queues=remembered)
    return replace(history, queues=remembered, reading_at=reading.at, advanced_at=now)


def _window(
    window: Sequence[tuple[float, int]], now: float, size: int, seconds: float
) -> tuple[tuple[float, int], ...]:
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

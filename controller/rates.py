"""How fast tasks come and how long they take, from totals that only grow.

Both are means over a window that adapts: the last 60 s, and further back (600 s at most) until 20
events lie in it, so that a rare or long task is not measured by chance. Relative noise of a Poisson
count of n is 1/√n: 22 % at 20. A rate that has ended fades as 20 ÷ the time since.

The service time is the slot seconds of the attempts that ended ÷ their number. When tasks become
longer that lags by their own length, so what runs now counts too with the time it has run: the busy
slot seconds of the last 30 s ÷ the attempts seen in them. That mean can only be too low, for each
attempt enters with a part of its time (in steady state it is S·w ÷ (S + w) for a window of w), and
so the larger of the two is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from controller.model import Queue, QueueRates

WINDOW_SECONDS = 60.0
LONGEST_WINDOW_SECONDS = 600.0
ENOUGH_EVENTS = 20
FAST_WINDOW_SECONDS = 20.0
"""Arrivals are measured over this window too, and the higher rate counts: a rise is seen early. One
standard deviation (√n of n) is taken off first, so that noise alone seldom looks like a rise."""
GROWTH_WINDOW_SECONDS = 30.0
_STEP_SECONDS = 5.0


@dataclass(frozen=True)
class Sample:
    """A queue's totals at a moment."""

    at: float
    attempts: int
    first_attempts: int
    ended: int
    service_seconds: float
    busy_seconds: float
    """∫ running dt, since the first sample."""


@dataclass(frozen=True)
class QueueHistory:
    """What is remembered of a queue: samples 5 s apart, the newest last."""

    samples: tuple[Sample, ...] = ()
    latest: Sample | None = None
    service_seconds: float | None = None


def observe(history: QueueHistory, queue: Queue, at: float) -> QueueHistory:
    """The history with one more reading. Totals or a time that went back start it again."""
    before = history.latest
    sample = Sample(
        at=at,
        attempts=queue.arrivals_total + queue.retries_total + queue.crashes_total,
        first_attempts=queue.arrivals_total,
        ended=queue.completions_total + queue.failures_total + queue.retries_total,
        service_seconds=queue.service_seconds_total,
        busy_seconds=0.0,
    )
    if before:
        if at == before.at:
            return history
        back = at < before.at or sample.attempts < before.attempts or sample.ended < before.ended
        if back:
            return observe(QueueHistory(service_seconds=history.service_seconds), queue, at)
        busy = before.busy_seconds + queue.running * (at - before.at)
        sample = replace(sample, busy_seconds=busy)
    samples = history.samples
    if not samples or at - samples[-1].at >= _STEP_SECONDS:
        oldest = at - LONGEST_WINDOW_SECONDS - _STEP_SECONDS
        samples = (*(earlier for earlier in samples if earlier.at >= oldest), sample)
    history = replace(history, samples=samples, latest=sample)
    return replace(history, service_seconds=_service_seconds(history, queue))


def rates(history: QueueHistory, queue: Queue) -> QueueRates:
    """The rates after `observe`."""
    minute = queue.arrivals_per_minute
    again = queue.retries_per_minute + queue.crashes_per_minute
    return QueueRates(
        attempts_per_second=_rate(history, lambda sample: sample.attempts, minute + again),
        first_attempts_per_second=_rate(history, lambda sample: sample.first_attempts, minute),
        service_seconds=history.service_seconds,
    )


def _rate(history: QueueHistory, count: Callable[[Sample], int], per_minute: float) -> float:
    now = history.latest
    assert now is not None
    start = _start(history, count)
    slow = per_minute / 60 if start is None else (count(now) - count(start)) / (now.at - start.at)
    recent = _before(history, FAST_WINDOW_SECONDS)
    if recent is None:
        return slow
    arrived = count(now) - count(recent)
    return max(slow, (arrived - math.sqrt(arrived)) / (now.at - recent.at))


def _service_seconds(history: QueueHistory, queue: Queue) -> float | None:
    now = history.latest
    assert now is not None
    start = _start(history, lambda sample: sample.ended)
    mean = history.service_seconds
    if start is None:
        # Not a minute has been seen yet: Redis has.
        mean = queue.service_seconds_mean if queue.service_seconds_mean is not None else mean
    elif now.ended > start.ended:
        mean = (now.service_seconds - start.service_seconds) / (now.ended - start.ended)
    recent = _before(history, GROWTH_WINDOW_SECONDS)
    if mean is None or recent is None:
        return mean
    seen = now.ended - recent.ended + queue.running
    so_far = (now.busy_seconds - recent.busy_seconds) / seen if seen else 0.0
    return max(mean, so_far)


def _start(history: QueueHistory, count: Callable[[Sample], int]) -> Sample | None:
    """Where the window begins; None: less than the shortest has been seen."""
    now = history.latest
    assert now is not None
    start = None
    for sample in reversed(history.samples):
        if now.at - sample.at < WINDOW_SECONDS:
            continue
        start = sample
        if count(now) - count(sample) >= ENOUGH_EVENTS:
            break
    return start


def _before(history: QueueHistory, seconds: float) -> Sample | None:
    """The youngest sample that is at least so old."""
    now = history.latest
    assert now is not None
    for sample in reversed(history.samples):
        if now.at - sample.at >= seconds:
            return sample
    return None

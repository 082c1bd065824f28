"""Arrival rates and service times: exact on steady loads, quick when they change, else calm."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from controller.model import Queue, QueueRates
from controller.rates import QueueHistory, observe, rates


def watch(queues: Iterator[Queue], history: QueueHistory | None = None) -> list[QueueRates]:
    """The rates after each second's reading."""
    seen, history = [], history or QueueHistory()
    for at, queue in enumerate(queues):
        history = observe(history, queue, float(at))
        seen.append(rates(history, queue))
    return seen


def steady(seconds: int, per_second: int, service: float) -> Iterator[Queue]:
    for second in range(seconds):
        done = second * per_second
        yield Queue(
            running=round(per_second * service),
            arrivals_total=done,
            completions_total=done,
            service_seconds_total=done * service,
        )


def test_a_steady_load_is_measured_exactly() -> None:
    last = watch(steady(300, 4, 2.5))[-1]
    assert (last.attempts_per_second, last.service_seconds) == (4, 2.5)


def test_before_a_minute_was_seen_redis_tells_its_own() -> None:
    queue = Queue(arrivals_per_minute=120, retries_per_minute=30, service_seconds_mean=3.5)
    [only] = watch(iter([queue]))
    assert (only.attempts_per_second, only.first_attempts_per_second) == (2.5, 2)
    assert only.service_seconds == 3.5


def test_the_service_time_is_unknown_until_something_has_ended() -> None:
    [*_, last] = watch(Queue(running=5, arrivals_total=5) for _ in range(200))
    assert last.service_seconds is None


def test_the_service_time_is_remembered_when_nothing_ends() -> None:
    busy = [*steady(100, 4, 2.5)]
    [*_, last] = watch(iter(busy + [replace(busy[-1], running=0)] * 1500))
    assert last.service_seconds == 2.5
    assert last.attempts_per_second == 0


def test_a_rise_of_arrivals_is_seen_within_the_fast_window() -> None:
    def rising() -> Iterator[Queue]:
        arrived = 0
        for second in range(200):
            arrived += 1 if second < 180 else 11
            yield Queue(arrivals_total=arrived)

    seen = watch(rising())
    assert seen[179].attempts_per_second == 1
    assert seen[199].attempts_per_second > 7


def test_longer_tasks_are_seen_before_they_end() -> None:
    """Tasks of 1 s become tasks of 60 s: nothing ends for a minute."""

    def lengthening() -> Iterator[Queue]:
        for second in range(160):
            ended = min(second, 100) * 4
            yield Queue(
                running=4 if second < 100 else 4 + (second - 100) * 4,
                arrivals_total=second * 4,
                completions_total=ended,
                service_seconds_total=float(ended),
            )

    seen = watch(lengthening())
    assert seen[99].service_seconds == 1
    after = [moment.service_seconds or 0 for moment in seen[100:]]
    assert after[30] > 10
    assert max(after) < 60


def test_shorter_tasks_are_seen_within_a_window() -> None:
    def shortening() -> Iterator[Queue]:
        service = 0.0
        for second in range(300):
            service += 4 * (10 if second < 200 else 1)
            yield Queue(
                running=40 if second < 200 else 4,
                arrivals_total=second * 4,
                completions_total=second * 4,
                service_seconds_total=service,
            )

    assert 0.9 < (watch(shortening())[-1].service_seconds or 0) < 1.1


def test_rare_tasks_are_measured_over_a_longer_window() -> None:
    """One task in 30 s on average: a minute's count would be 0 to 5 of them a minute."""
    random_ = random.Random(5)
    arrived = 0

    def rare() -> Iterator[Queue]:
        nonlocal arrived
        for _ in range(4000):
            arrived += random_.random() < 1 / 30
            yield Queue(arrivals_total=arrived)

    seen = [moment.attempts_per_second for moment in watch(rare())[1000:]]
    assert 0.015 < min(seen) <= max(seen) < 0.13
    # The fast window sees several at once; without them the rate stays near its mean.
    assert sum(0.02 < rate < 0.05 for rate in seen) > 0.7 * len(seen)


def test_totals_that_went_back_start_the_history_anew() -> None:
    before = QueueHistory()
    for at, queue in enumerate(steady(100, 4, 2.5)):
        before = observe(before, queue, float(at))
    after = observe(before, Queue(arrivals_per_minute=60), 100.0)
    assert rates(after, Queue(arrivals_per_minute=60)).attempts_per_second == 1
    assert after.service_seconds == 2.5


def test_the_history_stays_small() -> None:
    history = QueueHistory()
    for at, queue in enumerate(steady(3000, 4, 2.5)):
        history = observe(history, queue, float(at))
    assert len(history.samples) < 130

"""The loads: when tasks arrive and how long each runs, drawn from a fixed seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SEEDS = (11, 23, 47)
TAIL_SECONDS = 600.0
"""A run goes on so long after the last arrival, so that scaling to zero is paid for too."""


@dataclass(frozen=True)
class Task:
    """One task."""

    at: float
    seconds: float


@dataclass(frozen=True)
class Load:
    """A load and the pool that it meets."""

    name: str
    seconds: float
    concurrency: int
    max_replicas: int
    draw: Callable[[random.Random], list[Task]]

    def tasks(self, seed: int) -> list[Task]:
        """The tasks of a seed, in the order of their arrival."""
        return self.draw(random.Random(f"{self.name} {seed}"))

    @property
    def horizon(self) -> float:
        """When a run ends."""
        return self.seconds + TAIL_SECONDS


def _arrivals(
    random_: random.Random, seconds: float, most: float, rate: Callable[[float], float]
) -> Iterator[float]:
    """A Poisson process whose rate changes, by thinning (Lewis and Shedler 1979)."""
    at = 0.0
    while (at := at + random_.expovariate(most)) < seconds:
        if random_.random() * most < rate(at):
            yield at


def lognormal(random_: random.Random, mean: float, variation: float) -> float:
    """A log-normal time with this mean and this coefficient of variation."""
    variance = math.log1p(variation * variation)
    return random_.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))


def _poisson(
    seconds: float, most: float, rate: Callable[[float], float], mean: float
) -> Callable[[random.Random], list[Task]]:
    def draw(random_: random.Random) -> list[Task]:
        return [
            Task(at, lognormal(random_, mean, 1.0))
            for at in _arrivals(random_, seconds, most, rate)
        ]

    return draw


def _ramp(at: float) -> float:
    return at / 1200 * 10 if at < 1200 else max(10 - (at - 1200) / 600 * 10, 0)


def _bursts(random_: random.Random) -> list[Task]:
    """Every 150 s on average a batch, its size Pareto (α = 1.3), over a trickle."""
    tasks = [
        Task(at, lognormal(random_, 5, 1)) for at in _arrivals(random_, 3600, 0.1, lambda _: 0.1)
    ]
    for at in _arrivals(random_, 3600, 1 / 150, lambda _: 1 / 150):
        size = min(int(10 * random_.paretovariate(1.3)), 1000)
        tasks += [Task(at + random_.random(), lognormal(random_, 5, 1)) for _ in range(size)]
    return sorted(tasks, key=lambda task: task.at)


def _day(random_: random.Random) -> list[Task]:
    """A day in two hours: a night, a morning's and an afternoon's peak, and noise that lasts."""
    step, level, noise = 10.0, 0.0, []
    for _ in range(721):
        level = 0.9 * level + random_.gauss(0, 0.12)
        noise.append(math.exp(level))

    def rate(at: float) -> float:
        hour = at / 300
        peaks = math.exp(-(((hour - 10.5) / 2.2) ** 2)) + 0.8 * math.exp(
            -(((hour - 16) / 2.5) ** 2)
        )
        return (0.05 + 5 * peaks) * noise[int(at / step)]

    return [Task(at, lognormal(random_, 5, 1)) for at in _arrivals(random_, 7200, 24, rate)]


def _long(random_: random.Random) -> list[Task]:
    """Few tasks of three minutes on average, some of half an hour, one a worker at once."""
    rate = lambda at: 0.015 + (0.05 if at % 2400 < 900 else 0.0)  # noqa: E731
    return [
        Task(at, min(lognormal(random_, 180, 1.2), 1800))
        for at in _arrivals(random_, 7200, 0.065, rate)
    ]


def _mixed(random_: random.Random) -> list[Task]:
    """Five busy minutes in twenty. One task in a hundred takes a hundred times as long."""
    rate = lambda at: 4.0 if at % 1200 < 300 else 0.5  # noqa: E731
    return [
        Task(at, 500.0 if random_.random() < 0.01 else lognormal(random_, 5, 1))
        for at in _arrivals(random_, 7200, 4.0, rate)
    ]


LOADS = (
    Load("step", 2400, 5, 20, _poisson(2400, 8, lambda at: 8 if 300 <= at < 1500 else 1, 5)),
    Load("ramp", 2100, 5, 20, _poisson(2100, 10, _ramp, 5)),
    Load(
        "sine",
        3600,
        5,
        20,
        _poisson(3600, 10, lambda at: 5 - 4.5 * math.cos(at / 600 * 2 * math.pi), 5),
    ),
    Load("on/off", 3000, 5, 20, _poisson(3000, 8, lambda at: 8 if at % 500 < 150 else 0, 5)),
    Load("bursts", 3600, 5, 20, _bursts),
    Load("day", 7200, 5, 20, _day),
    Load("long tasks", 7200, 1, 20, _long),
    Load("mixed", 7200, 5, 20, _mixed),
)

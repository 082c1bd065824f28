"""Compares two checkouts: short slices of both in turn, old and new in one table."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import processes
from benchmarks.figures import Samples, aligned, percentile, rounded

NEW, OLD = "new", "old"
FLOOR_DB = 0
SLOTS = (10, 20, 40)
SETTLE_SECONDS = 2.0
"""An idle worker's memory is read so long after it has registered."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 9
    slice_seconds: float = 1.0
    drain_tasks: int = 20_000
    pickups: int = 150


QUICK = Plan(rounds=2, slice_seconds=0.2, drain_tasks=2_000, pickups=20)

ROWS = (
    ("set", "SET, redis-py (the floor)", "1/s"),
    ("submit_async", "submit one by one, event loop", "1/s"),
    ("submit_async_own", "... processor time a task, client", "µs"),
    ("submit_async_redis", "... processor time a task, Redis", "µs"),
    ("submit_sync", "submit one by one, blocking", "1/s"),
    ("submit_sync_own", "... processor time a task, client", "µs"),
    ("submit_sync_redis", "... processor time a task, Redis", "µs"),
    ("submit_bulk", "submit, 1000 at a time", "1/s"),
    *(
        row
        for slots in SLOTS
        for row in (
            (f"drain_{slots}", f"drain, {slots} slots", "1/s"),
            (f"drain_{slots}_own", "... processor time a task, worker", "µs"),
            (f"drain_{slots}_redis", "... processor time a task, Redis", "µs"),
        )
    ),
    ("pickup_p50", "idle pick-up, p50", "ms"),
    ("pickup_p99", "idle pick-up, p99", "ms"),
    ("bare_p50", "bare RPUSH to BLPOP, p50", "ms"),
    ("bare_p99", "bare RPUSH to BLPOP, p99", "ms"),
    ("rss", "memory of an idle worker (RSS)", "MiB"),
)
"""Name, title and unit of each figure."""

QUOTIENTS = (
    (
        "submit, blocking (new) ÷ submit, event loop (old)",
        (NEW, "submit_sync"),
        (OLD, "submit_async"),
    ),
    ("submit, blocking (new) ÷ SET", (NEW, "submit_sync"), (NEW, "set")),
    ("submit, event loop (new) ÷ SET", (NEW, "submit_async"), (NEW, "set")),
)
"""What is compared beside old with new."""


class Side:
    """A checkout: its client process, and its workers."""

    def __init__(self, name: str, root: Path, server: processes.Redis, first_db: int) -> None:
        self.name = name
        self.root = root
        self.submit_url = server.url(first_db)
        self.workers: dict[int, processes.Worker] = {}
        self.first_db = first_db
        """Its clients' own; the workers' follow."""
        self._server = server

    def start(self, stack: ExitStack, folder: Path) -> None:
        """Start its processes. They end with the stack."""
        for number, slots in enumerate(SLOTS, 1):
            url = self._server.url(self.first_db + number)
            worker = processes.Worker(
                f"worker-{self.name}-{slots}", url, folder, root=self.root, MAX_WORKERS=str(slots)
            )
            self.workers[slots] = stack.enter_context(worker)
        self._client = stack.enter_context(_client(self.root, folder))
        found = Path(self.ask("code")).resolve()
        if not found.is_relative_to(self.root):
            raise RuntimeError(f"{self.name}: {found} is measured, which is not in {self.root}")

    def ask(self, job: str, *arguments: Any) -> Any:
        """Have its client do a job (side.py)."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps([job, *arguments]) + "\n")
        self._client.stdin.flush()
        line = self._client.stdout.readline()
        if not line:
            raise RuntimeError(f"the client of {self.name} ended in {job}: see its output above")
        return json.loads(line)

    def forget(self) -> None:
        """Every round begins alike."""
        self._server.flush(self.first_db)
        for number in range(1, 1 + len(SLOTS)):
            self._server.forget_tasks(self.first_db + number)


class Comparison:
    """One run of both checkouts."""

    def __init__(self, plan: Plan, binary: Path, folder: Path, other: Path) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {
            name: defaultdict(list) for name in (OLD, NEW)
        }
        self._plan = plan
        self._binary = binary
        self._folder = folder
        self._roots = {OLD: other.resolve(), NEW: processes.ROOT}

    def measure(self) -> None:
        """Measure everything."""
        with ExitStack() as stack:
            server = stack.enter_context(processes.Redis(self._binary, self._folder))
            stack.enter_context(processes.popper(server.url(FLOOR_DB), self._folder))
            sides = [
                Side(name, root, server, 1 + number * (1 + len(SLOTS)))
                for number, (name, root) in enumerate(self._roots.items())
            ]
            for side in sides:
                side.start(stack, self._folder)
                for worker in side.workers.values():
                    worker.wait_until_ready()
            time.sleep(SETTLE_SECONDS)
            for side in sides:
                memory = psutil.Process(side.workers[SLOTS[0]].pid).memory_info().rss
                self._add(side, "rss", memory / 2**20)
            for number in range(self._plan.rounds):
                print(f"round {number + 1} of {self._plan.rounds}", file=sys.stderr, flush=True)
                # Each is first in every other round: what comes first may find a quieter machine.
                self._round(sides if number % 2 else sides[::-1], server)

    def _round(self, sides: list[Side], server: processes.Redis) -> None:
        seconds, floor = self._plan.slice_seconds, server.url(FLOOR_DB)
        for side in sides:
            self._add(side, "set", side.ask("sets", floor, seconds))
        for job in ("submit_async", "submit_sync"):
            for side in sides:
                self._add_costs(side, job, side.ask(job, side.submit_url, seconds))
                server.flush(side.first_db)
        for side in sides:
            self._add(side, "submit_bulk", side.ask("submit_bulk", side.submit_url, seconds))
            server.flush(side.first_db)
        for slots in SLOTS:
            for side in sides:
                worker = side.workers[slots]
                costs = side.ask("drain", worker.url, worker.pid, self._plan.drain_tasks)
                self._add_costs(side, f"drain_{slots}", costs)
        for side in sides:
            worker = side.workers[SLOTS[0]]
            for name, times in zip(
                ("pickup", "bare"),
                side.ask("pick_up", worker.url, floor, self._plan.pickups),
                strict=True,
            ):
                self._add(side, f"{name}_p50", percentile(times, 50))
                self._add(side, f"{name}_p99", percentile(times, 99))
            side.forget()

    def _add_costs(self, side: Side, name: str, costs: Sequence[float] | None) -> None:
        """Rate and processor times; nothing where a checkout has no such client."""
        for ending, sample in zip(("", "_own", "_redis"), costs or (), strict=False):
            self._add(side, name + ending, sample)

    def _add(self, side: Side, name: str, sample: float) -> None:
        self.samples[side.name][name].append(sample)


def comparison_table(old: Samples, new: Samples) -> str:
    """Medians of both, and the median of the rounds' ratios. Pure."""
    rows = [["figure", "unit", "old", "new", "new ÷ old"]]
    for name, title, unit in ROWS:
        found = [samples.get(name) for samples in (old, new)]
        if any(found):
            medians = [rounded(statistics.median(samples)) if samples else "-" for samples in found]
            rows.append([title, unit, *medians, _quotient(found[1], found[0])])
    both = {OLD: old, NEW: new}
    for title, (side, name), (other_side, other_name) in QUOTIENTS:
        quotient = _quotient(both[side].get(name), both[other_side].get(other_name))
        rows.append([title, "", "", "", quotient])
    return aligned(rows)


def _quotient(above: Sequence[float] | None, below: Sequence[float] | None) -> str:
    if not above or not below:
        return "-"
    return f"{statistics.median(a / b for a, b in zip(above, below, strict=True)):.2f}"


@contextmanager
def _client(root: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.side"],
        cwd=folder,
        env=processes.environment_of(root, folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()  # ends it
        process.wait(processes.STOP_TIMEOUT_SECONDS)

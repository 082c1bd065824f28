"""The measuring itself: rounds of short slices, one of each kind in turn."""

from __future__ import annotations

import socket
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from benchmarks import (
    depth,
    draining,
    floors,
    pickup,
    processes,
    submitting,
    web,
    workflows,
)
from benchmarks.figures import percentile
from benchmarks.tasks import Order, noop
from headrace.taskqueue import TaskQueue, TypeInfo, WorkerInfo

T = TypeVar("T")

FLOOR_DB, SUBMIT_DB, WORKER_DB, QUIET_DB, API_DB, MEMORY_DB, SHALLOW_DB, DEEP_DB, RUN_DB = range(9)
"""A Redis database for each kind of slice, so that none meets what another one left."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 7
    slice_seconds: float = 2.0
    drain_tasks: int = 20_000
    pickups: int = 200
    """Tasks a round."""
    runs: int = 2_000
    """Runs of workflows a round, and a tenth of it one by one."""
    memory_tasks: int = 100_000
    deep: int = 1_000_000
    calls: int = 300
    """Cancels, and readings of the stats."""


QUICK = Plan(
    rounds=2,
    slice_seconds=0.3,
    drain_tasks=2_000,
    pickups=30,
    runs=200,
    memory_tasks=5_000,
    deep=20_000,
    calls=50,
)
"""Shows that everything works. Its figures mean little."""


class Run:
    """One run: the processes, and what was measured so far."""

    def __init__(self, plan: Plan, binary: Path, folder: Path) -> None:
        self.samples: dict[str, list[float]] = defaultdict(list)
        self._plan = plan
        self._binary = binary
        self._folder = folder

    def measure(self) -> None:
        """Measure everything."""
        with ExitStack() as stack:
            folder = self._folder
            self._redis = redis = stack.enter_context(processes.Redis(self._binary, folder))
            self._worker = processes.Worker("worker", redis.url(WORKER_DB), folder)
            stack.enter_context(self._worker)
            self._quiet = processes.Worker(
                "worker-quiet", redis.url(QUIET_DB), folder, LOG_LEVEL="error"
            )
            stack.enter_context(self._quiet)
            self._runner = processes.Worker(
                "worker-runs",
                redis.url(RUN_DB),
                folder,
                LOG_LEVEL="error",
                WORKFLOWS_DIR=str(workflows.DEFINITIONS),
            )
            stack.enter_context(self._runner)
            stack.enter_context(processes.popper(redis.url(FLOOR_DB), folder))
            self._api = processes.api(redis.url(API_DB), folder)
            stack.enter_context(self._api)
            self._bare_api = processes.bare_api(redis.url(FLOOR_DB), folder)
            stack.enter_context(self._bare_api)
            _wait(publish_type(redis.url(API_DB)))
            for process in (self._worker, self._quiet, self._runner, self._api, self._bare_api):
                _wait(process.ready())
            for number in range(self._plan.rounds):
                _say(f"round {number + 1} of {self._plan.rounds}")
                self._round()
        self._measure_depth()

    def _measure_depth(self) -> None:
        """With nothing else running: a million tasks need memory, and time to be put there."""
        _say("memory, cancel and stats")
        plan = self._plan
        with processes.Redis(self._binary, self._folder) as redis:
            for size in (50, 500):
                used = depth.bytes_per_task(redis, MEMORY_DB, size, plan.memory_tasks)
                self.samples[f"memory_{size}"].append(_wait(used))
            calls = depth.cancel_and_stats(
                redis.url(SHALLOW_DB), redis.url(DEEP_DB), plan.deep, plan.calls
            )
            for name, milliseconds in _wait(calls).items():
                self.samples[name].append(statistics.median(milliseconds))

    def _round(self) -> None:
        """One slice of each kind. What is compared with each other stands close together."""
        seconds, redis = self._plan.slice_seconds, self._redis
        add = self._add
        floor, submit = redis.url(FLOOR_DB), redis.url(SUBMIT_DB)
        add("set_sync", floors.sync_sets(floor, seconds))
        add("submit", _wait(submitting.one_by_one(submit, seconds)))
        add("set_raw", _wait(floors.raw_sets(floor, seconds)))
        redis.flush(SUBMIT_DB)
        add("drain", self._drain(self._worker))
        add("set_asyncio", _wait(floors.asyncio_sets(floor, seconds)))
        with_making, without = _wait(submitting.in_bulk(submit, seconds))
        add("submit_bulk", with_making)
        add("submit_bulk_made", without)
        redis.flush(SUBMIT_DB)
        add("drain_quiet", self._drain(self._quiet))
        self._hand_over()
        self._over_http()
        self._workflows()
        # Every round begins alike: what a million kept results cost is another question.
        redis.flush(FLOOR_DB)
        for db in (WORKER_DB, QUIET_DB, API_DB, RUN_DB):
            redis.forget_tasks(db)

    def _drain(self, worker: processes.Worker) -> float:
        return _wait(draining.drain(worker.url, worker.pid, self._plan.drain_tasks)).rate

    def _hand_over(self) -> None:
        worker, floor = self._worker.url, self._redis.url(FLOOR_DB)
        ours, bare = _wait(pickup.pick_up(worker, floor, self._plan.pickups))
        for name, milliseconds in (("pickup", ours), ("bare_pickup", bare)):
            self._add(f"{name}_p50", percentile(milliseconds, 50))
            self._add(f"{name}_p99", percentile(milliseconds, 99))

    def _workflows(self) -> None:
        runner, count = self._runner, self._plan.runs
        noops, runs = _wait(workflows.to_the_end(runner.url, count // 10))
        noop_p50, run_p50 = percentile(noops, 50), percentile(runs, 50)
        self._add("noop_p50", noop_p50)
        self._add("run_p50", run_p50)
        self._add("run_extra_p50", run_p50 - noop_p50)
        drained = _wait(draining.drain(runner.url, runner.pid, count, workflows.new_run))
        self._add("runs", drained.rate)
        seen = _wait(workflows.beside_an_endless_one(50))
        self._add("jq_alone_p99", percentile(seen.alone, 99))
        self._add("jq_beside_p99", percentile(seen.beside, 99))
        self._add("evaluation_max", max(seen.evaluations))

    def _over_http(self) -> None:
        order = Order(number=1_000_000, customer="Ada Lovelace").model_dump_json().encode()
        task, workflow = f"/api/tasks/{noop.name}", "/api/workflows/hello/execute"
        for name, server, request in (
            ("http_task", self._api, web.post(task, b'{"payload":%b}' % order)),
            ("http_bare", self._bare_api, web.post("/submit", order)),
            ("http_workflow", self._api, web.post(workflow, b'{"variables":{"name":"Ada"}}')),
        ):
            rate, milliseconds = _wait(web.requests(server.port, request, self._plan.slice_seconds))
            self._add(name, rate)
            self._add(f"{name}_p99", percentile(milliseconds, 99))

    def _add(self, name: str, sample: float) -> None:
        self.samples[name].append(sample)
        _say(f"  {name} {sample:,.2f}")


async def publish_type(url: str) -> None:
    """Register a worker that has the benchmark's type and has gone silent since: the API checks
    payloads by what workers publish, and none is to run what it submits.
    """
    queue = TaskQueue(url)
    info = WorkerInfo(
        id="benchmark",
        host=socket.gethostname(),
        pod=None,
        pid=0,
        version="",
        queues=[noop.name],
        concurrency=1,
        started_at_ms=int(time.time() * 1000),
    )
    published = TypeInfo(
        name=noop.name,
        payload_schema=noop.payload_schema(),
        max_retries=noop.max_retries,
        timeout_seconds=noop.timeout_seconds,
        version="",
    )
    consumer = queue.consumer(info, [published])
    try:
        await consumer.register()
    finally:
        await consumer.close()
        await queue.close()


def _wait(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop, as workers and API do."""
    return uvloop.run(work)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)

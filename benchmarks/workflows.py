"""What runs of workflows cost: one at a time, many in a row, and beside one that never ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.submitting import new_task
from headrace.taskqueue import NewTask, TaskQueue, new_id
from headrace.workflows import Environment, Runtime, Workflow, WorkflowError, execute, parse

DEFINITIONS = Path(__file__).parent / "definitions"
TEN_SETS = (DEFINITIONS / "ten-sets.yaml").read_bytes()
TIMEOUT_SECONDS = 20.0
PROBE_SECONDS = 0.005

_HEAD = "document: {dsl: '1.0.3', namespace: benchmark, name: %s, version: '1.0.0'}\n"
_BY_JQ = (
    _HEAD % "by-jq"
    + "do:\n"
    + "".join(
        f"  - step{number}: {{set: '${{ {{items: (.items | map(. + 1) | sort)}} }}'}}\n"
        for number in range(10)
    )
)
"""Ten tasks that none but jq can evaluate."""
_ENDLESS = (
    _HEAD % "endless"
    + "do:\n  - step: {set: {x: '${ [limit(1000000000000; repeat(1)) | select(. > 1)] }'}}\n"
)


def new_run() -> NewTask:
    """A run of the ten tasks, as the API submits it: pinned to its definition."""
    payload = {
        "workflow_id": "ten-sets",
        "variables": {"n": 5, "name": "Ada"},
        "definition": hashlib.sha256(TEN_SETS).hexdigest(),
    }
    return NewTask(type="workflow_execute", payload=json.dumps(payload).encode(), id=new_id())


async def to_the_end(url: str, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from before a submit to the end of the task: of tasks that do nothing, and of
    runs of ten tasks; one of each in turn.
    """
    queue = TaskQueue(url)
    spent: tuple[list[float], list[float]] = ([], [])
    try:
        await queue.connect()
        for _ in range(count):
            for task, into in zip((new_task(), new_run()), spent, strict=True):
                began = time.perf_counter()
                await queue.submit(task)
                while not (await queue.get(task.id)).status.final:
                    if time.perf_counter() > began + TIMEOUT_SECONDS:
                        raise TimeoutError(f"{task.type} did not end")
                into.append((time.perf_counter() - began) * 1e3)
    finally:
        await queue.close()
    return spent


@dataclass(frozen=True)
class Beside:
    """What runs see of one whose expression never ends, in milliseconds."""

    alone: list[float]
    """How long each of the others took without it."""
    beside: list[float]
    """The same while it was evaluated."""
    evaluations: list[float]
    """How long a trivial evaluation took meanwhile, from when it was asked for."""


async def beside_an_endless_one(runs: int) -> Beside:
    """Runs at once in one process, that need jq, without and with one that hits its limit."""
    by_jq, endless = parse(_BY_JQ.encode(), "by-jq"), parse(_ENDLESS.encode(), "endless")
    runtime = Runtime()
    try:
        await _round(runtime, by_jq, runs)  # starts what is started once
        alone = await _round(runtime, by_jq, runs)
        runaway = asyncio.create_task(_run(runtime, endless))
        await asyncio.sleep(PROBE_SECONDS)
        beside, evaluations = await asyncio.gather(
            _round(runtime, by_jq, runs), _evaluate_until(runaway, runtime)
        )
        if not isinstance(runaway.exception(), WorkflowError):
            raise RuntimeError("the expression without end came to one")
    finally:
        await runtime.close()
    return Beside(alone, beside, evaluations)


async def _evaluate_until(runaway: asyncio.Task[float], runtime: Runtime) -> list[float]:
    spent: list[float] = []
    while not runaway.done():
        began = time.perf_counter()
        await runtime.evaluator.evaluate(["1 + 1"], b"null")
        spent.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(PROBE_SECONDS)
    return spent


async def _round(runtime: Runtime, workflow: Workflow, runs: int) -> list[float]:
    return await asyncio.gather(*(_run(runtime, workflow) for _ in range(runs)))


async def _run(runtime: Runtime, workflow: Workflow) -> float:
    began = time.perf_counter()
    environment = Environment(runtime=runtime, run_id="benchmark")
    await execute(workflow, {"items": list(range(50))}, environment=environment)
    return (time.perf_counter() - began) * 1e3

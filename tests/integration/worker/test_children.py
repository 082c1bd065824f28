"""Parents and children in real workers, which are killed at each step of the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import Context, Park, TaskStatus, handler
from tests.integration.worker.conftest import Bench, Process, until
from tests.keyspace import indexed, unexpected_keys

COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
PENDING, RUNNING = TaskStatus.PENDING, TaskStatus.RUNNING

HEAD = "document: {{dsl: '1.0.3', namespace: tests, name: {name}, version: '1.0.0'}}\ndo:\n"
CALL = """\
  - first: {set: {began: true}}
  - nap: {call: nap, input: {from: "${ $workflow.input.seconds }"}}
  - then: {set: {nap: "${ . }"}}
"""
OUTER = """\
  - inner:
      run: {workflow: {namespace: tests, name: inner, version: latest, input: {seconds: 0.5}}}
  - then: {set: {got: "${ . }"}}
"""

BROKEN = """\
  - no: {raise: {error: {type: 'https://example.com/full', status: 507, detail: d}}}
"""
CAUGHT = """\
  - a:
      try:
        - b: {run: {workflow: {namespace: tests, name: broken, version: latest}}}
      catch:
        errors: {with: {status: 507}}
        as: e
        do: [{c: {set: {type: "${ $e.type }", where: "${ $e.instance }"}}}]
"""


def define(folder: Path, **workflows: str) -> None:
    for name, steps in workflows.items():
        (folder / f"{name}.yaml").write_text(HEAD.format(name=name) + steps)


async def test_a_handler_waits_for_its_children_without_a_slot(bench: Bench) -> None:
    @handler("square", max_retries=0)
    async def square(ctx: Context, n: int) -> int:
        if n == 13:
            raise ValueError("thirteen")
        return n * n

    @handler("sum")
    async def sum_up(ctx: Context, numbers: list[int]) -> list[Any] | Park:
        ids = [await ctx.submit(square, n, key=str(n), child=True) for n in numbers]
        ends = [await ctx.child(task_id) for task_id in ids]
        if None in ends:
            return Park(None, None, wake_on="inbox")
        return [end.error or json.loads(end.result or b"") for end in ends if end]

    bench.start(square, sum_up, concurrency=1)
    record = await bench.ended(await bench.submit("sum", [2, 3, 13]))
    assert record.result == b'[4,9,"ValueError: thirteen"]'
    assert unexpected_keys(bench.server) == []


async def test_a_child_of_a_type_that_nobody_has_is_refused(bench: Bench) -> None:
    @handler("ask", max_retries=0)
    async def ask(ctx: Context, payload: Any) -> str:
        return await ctx.submit("nobody", None, child=True)

    bench.start(ask)
    record = await bench.ended(await bench.submit("ask"))
    assert "no worker has the task type 'nobody', and none has had it" in str(record.error)


async def test_a_child_has_the_retries_that_its_type_was_published_with(bench: Bench) -> None:
    @handler("flaky", max_retries=0)
    async def flaky(ctx: Context, payload: Any) -> None:
        raise ConnectionError

    @handler("parent")
    async def parent(ctx: Context, payload: Any) -> int | Park:
        child = await ctx.submit("flaky", None, key="1", child=True)
        end = await ctx.child(child)
        return Park(None, None, wake_on="inbox") if end is None else ctx.attempt

    bench.start(flaky)
    bench.start(parent)
    record = await bench.ended(await bench.submit("parent"))
    assert (record.status, record.result) == (COMPLETED, b"1")


@pytest.mark.parametrize("doomed", ["parent", "child"])
async def test_a_cancel_of_a_run_stops_the_task_that_it_waits_for(
    bench: Bench, new_process: Callable[..., Process], tmp_path: Path, doomed: str
) -> None:
    define(tmp_path, call=CALL)
    worker = new_process(QUEUES="workflow_execute,nap", WORKFLOWS_DIR=str(tmp_path))
    await worker.logged("worker.started")
    run = await bench.submit(
        "workflow_execute", {"workflow_id": "call", "variables": {"seconds": 60}}
    )
    await bench.reached(run, PENDING)
    child_id = await child_of(bench, run)
    await bench.reached(child_id, RUNNING)
    await bench.queue.cancel(run if doomed == "parent" else child_id, running=True)
    assert (await bench.ended(child_id)).status is CANCELLED
    record = await bench.ended(run)
    assert record.status is (CANCELLED if doomed == "parent" else FAILED)
    if doomed == "child":
        assert "the task of type 'nap' was cancelled" in str(record.error)
    await until(lambda: not indexed(bench.server))
    assert unexpected_keys(bench.server) == []


async def submit(bench: Bench, name: str, **variables: Any) -> str:
    payload = {"workflow_id": name, "variables": variables}
    return await bench.submit("workflow_execute", payload)


async def child_of(bench: Bench, run: str) -> str:
    """The id of the task that a run waits for."""
    client: Any = bench.server.client
    [found] = await until(lambda: client.smembers(f"{{headrace}}:children:{run}"))
    return str(found.decode())


KILLS = ["parent before its child", "child while it runs", "parent while it is parked", "both"]


@pytest.mark.parametrize("kill", KILLS)
async def test_whoever_is_killed_the_child_ends_once_and_its_result_is_the_steps(
    bench: Bench, new_process: Callable[..., Process], tmp_path: Path, kill: str
) -> None:
    define(tmp_path, call=CALL)

    def runs() -> Process:
        return new_process(QUEUES="workflow_execute", WORKFLOWS_DIR=str(tmp_path))

    def naps() -> Process:
        return new_process(QUEUES="nap")

    parents, children = runs(), naps()
    for worker in (parents, children):
        await worker.logged("worker.started")
    run = await bench.submit(
        "workflow_execute", {"workflow_id": "call", "variables": {"seconds": 0.7}}
    )
    child_id = await child_of(bench, run)
    if kill == "parent before its child":
        parents.kill()
        parents = runs()
    elif kill == "child while it runs":
        await bench.reached(child_id, RUNNING)
        children.kill()
        children = naps()
    elif kill == "parent while it is parked":
        await bench.reached(run, PENDING)
        parents.kill()
        await bench.ended(child_id)
        parents = runs()
    else:
        await bench.reached(child_id, RUNNING)
        children.kill()
        parents.kill()
        children, parents = naps(), runs()
    record = await bench.ended(run, 30)
    assert record.status is COMPLETED, record
    attempt = 2 if "child" in kill.split(" ")[0] or kill == "both" else 1
    assert json.loads(record.result or b"")["variables"] == {"nap": {"attempt": attempt}}
    child = await bench.queue.get(child_id)
    assert (child.status, child.parent) == (COMPLETED, run)
    assert (await bench.queue.stats()).queues["nap"].completions_total == 1
    await until(lambda: not indexed(bench.server))
    assert unexpected_keys(bench.server) == []


async def test_a_workflow_runs_another_and_gets_its_output_or_its_error(
    bench: Bench, new_process: Callable[..., Process], tmp_path: Path
) -> None:
    define(
        tmp_path,
        inner=CALL,
        outer=OUTER,
        broken=BROKEN,
        caught=CAUGHT,
        endless="  - a: {run: {workflow: {namespace: tests, name: endless, version: latest}}}\n",
        started="  - a: {run: {await: false, workflow: {namespace: tests, name: inner, "
        "version: latest}}}\n",
        missing="  - a: {run: {workflow: {namespace: other, name: inner, version: latest}}}\n",
    )
    worker = new_process(
        QUEUES="workflow_execute,nap", WORKFLOWS_DIR=str(tmp_path), QUEUE_MAX_DEPTH="3"
    )
    await worker.logged("worker.started")

    async def run(name: str, **variables: Any) -> Any:
        record = await bench.ended(await submit(bench, name, **variables), 30)
        return record.error or json.loads(record.result or b"")["variables"]

    assert await run("outer") == {"got": {"nap": {"attempt": 1}}}
    assert await run("caught") == {"type": "https://example.com/full", "where": "/do/0/a/try/0/b"}
    assert "3 tasks deep at most" in await run("endless")
    assert "there is no workflow other/inner, version latest: defined are" in await run("missing")
    assert await run("started", seconds=0.01) == {"seconds": 0.01}
    await until(lambda: not indexed(bench.server))
    assert unexpected_keys(bench.server) == []


async def test_a_run_retried_by_hand_calls_again(
    bench: Bench, new_process: Callable[..., Process], tmp_path: Path
) -> None:
    define(tmp_path, give="  - a: {call: act, input: {from: '${ .steps }'}}\n")
    worker = new_process(QUEUES="workflow_execute,act", WORKFLOWS_DIR=str(tmp_path))
    await worker.logged("worker.started")
    run = await submit(bench, "give", steps=["give up"])
    record = await bench.ended(run)
    assert "the task of type 'act' failed: it cannot be done" in str(record.error)
    await bench.queue.retry(run)
    await bench.ended(run)
    assert (await bench.queue.stats()).queues["act"].failures_total == 2

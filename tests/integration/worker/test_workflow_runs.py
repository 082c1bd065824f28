"""Workflow runs on real workers and a real Redis: what they write, and what a kill repeats."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from headrace import TaskStatus
from tests.integration.worker.conftest import PACKAGE, Bench, Process, until
from tests.unit.workflows.web import Answer, Seen, Web, json

# A worker with this dies when it has stored something of a run for the n-th time.
KILLING = """
import os, signal
from headrace.handlers.context import Context

left = int(os.environ.get("KILL_AFTER", 0))

def killing(store):
    async def stored(ctx, *what):
        global left
        await store(ctx, *what)
        if ctx.task_type == "workflow_execute" and ctx.depth == 0:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    return stored

Context.append = killing(Context.append)
Context.checkpoint = killing(Context.checkpoint)
"""
NESTED = """
do:
  - guarded:
      try:
        - both:
            fork:
              branches:
                - loop:
                    for: {in: "[1, 2]"}
                    do:
                      - pause: {wait: {milliseconds: 200}}
                      - call:
                          call: http
                          with: {method: post, endpoint: "${ $context.url }", body: "${ $item }"}
                      - nap: {call: nap, input: {from: "0.01"}}
                - other:
                    for: {in: "[1, 2]"}
                    do:
                      - call:
                          call: http
                          with: {method: post, endpoint: "${ $context.url }", body: "${$item + 9}"}
                      - inner:
                          run: {workflow: {namespace: tests, name: inner, version: latest}}
                          input: {from: "{n: .}"}
        - fails:
            call: http
            with: {method: post, endpoint: "${ $context.url }", body: fail}
      catch:
        do:
          - undo:
              call: http
              with: {method: post, endpoint: "${ $context.url }", body: "${ $error.status }"}
  - last: {set: {end: "${ . }"}}
"""
INNER = """
do:
  - pause: {wait: {milliseconds: 150}}
  - answer: {set: {twice: "${ .n * 2 }"}}
"""
HEAD = "document: {dsl: '1.0.3', namespace: tests, name: %s, version: '1.0.0'}\n"
CALLS, CALL_BYTES = 400, 10_000
LOOP = """
do:
  - calls:
      for: {in: "[range(%d)]"}
      metadata: {%s}
      do:
        - call:
            call: http
            with: {method: get, endpoint: "${ $workflow.input.url }"}
%s"""
COLLECTING = """\
            export: {as: "${ $context + {all: (($context.all // []) + [.])} }"}
"""


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    """A real HTTP server on 127.0.0.1."""
    web = Web()
    await web.start()
    yield web
    await web.close()


def _wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("metadata", "export", "factor"),
    [("", "", 1.2), ("headrace: {parallel: 4}", "", 2.2), ("", COLLECTING, 2.2)],
    ids=["each replaces the data", "all are collected", "an expression collects all"],
)
async def test_a_run_writes_little_more_than_what_its_calls_return(
    bench: Bench,
    new_process: Callable[..., Process],
    tmp_path: Path,
    web: Web,
    metadata: str,
    export: str,
    factor: float,
) -> None:
    for name, count in (("warm", 1), ("calls", CALLS)):
        (tmp_path / f"{name}.yaml").write_text(HEAD % name + LOOP % (count, metadata, export))
    web.routes["/"] = Answer(200, b"x" * CALL_BYTES, "text/plain")
    worker = new_process(
        QUEUES="workflow_execute",
        WORKFLOWS_DIR=str(tmp_path),
        HTTP_ALLOW="127.0.0.1",
        MAX_PAYLOAD_BYTES=str(16 * 1024 * 1024),
        LEASE_SECONDS="10",
    )
    await worker.logged("worker.started")
    # The scripts are loaded by the first run.
    variables = {"url": web.url + "/"}
    first = {"workflow_id": "warm", "variables": variables}
    await bench.ended(await bench.submit("workflow_execute", first))
    web.seen.clear()
    before = bench.server.client.info("stats")["total_net_input_bytes"]
    payload = {"workflow_id": "calls", "variables": variables}
    task_id = await bench.submit("workflow_execute", payload)
    # Without a question to the server, which counts those, too.
    await asyncio.to_thread(_wait_for, lambda: len(web.seen) == CALLS)
    record = await bench.ended(task_id, 30)
    assert record.status is TaskStatus.COMPLETED, record
    written = bench.server.client.info("stats")["total_net_input_bytes"] - before
    assert record.result is not None
    written -= len(record.result)  # the run's own output, which is written once besides
    assert len(web.seen) == CALLS
    assert CALLS * CALL_BYTES <= written <= factor * CALLS * CALL_BYTES


async def killed_and_resumed(
    bench: Bench, new_process: Callable[..., Process], folder: Path, web: Web, kill_after: int
) -> int | None:
    """Run NESTED, kill its worker after so many writes, and let another one go on.

    Returns how many effects there were, or None if the run ended before.
    """
    (folder / "sitecustomize.py").write_text(KILLING)
    for name, steps in (("nested", NESTED), ("inner", INNER)):
        (folder / f"{name}.yaml").write_text(HEAD % name + steps)

    def answer(seen: Seen) -> Answer:
        return Answer(500) if seen.body == b"fail" else json(int(seen.body))

    web.routes["/"] = answer
    web.seen.clear()
    settings = {
        "QUEUES": "workflow_execute,nap",
        "MAX_WORKERS": "4",
        "WORKFLOWS_DIR": str(folder),
        "HTTP_ALLOW": "127.0.0.1",
        "PYTHONPATH": f"{folder}:{PACKAGE}",
    }
    before = await naps(bench)
    doomed = new_process(**settings, KILL_AFTER=str(kill_after))
    payload = {"workflow_id": "nested", "variables": {"url": web.url + "/"}}
    task_id = await bench.submit("workflow_execute", payload)

    async def over() -> bool:
        return doomed.popen.poll() is not None or (await bench.queue.get(task_id)).status.final

    await until(over, 30)
    was_killed = doomed.popen.poll() is not None
    heir = new_process(**settings)
    record = await bench.ended(task_id, 60)
    for process in (doomed, heir):
        process.kill()
    assert record.status is TaskStatus.COMPLETED, record
    assert msgspec.json.decode(record.result or b"")["variables"] == {"end": 500}
    assert await naps(bench) - before == 2
    keys = Counter(seen.headers["idempotency-key"] for seen in web.seen)
    assert len(keys) == 6
    # At most what the other branch had under way, with the same key.
    assert sum(keys.values()) <= 7
    return len(keys) if was_killed else None


async def naps(bench: Bench) -> int:
    """How many children have completed."""
    queue = (await bench.queue.stats()).queues.get("nap")
    return 0 if queue is None else queue.completions_total


async def test_a_killed_run_goes_on_elsewhere_and_repeats_nothing(
    bench: Bench, new_process: Callable[..., Process], tmp_path: Path, web: Web
) -> None:
    """Wait, call, child and run, in `for` in `fork` in `try`."""
    assert await killed_and_resumed(bench, new_process, tmp_path, web, 5) is not None


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_run_that_is_killed_after_any_of_its_writes_ends_the_same(
    bench: Bench, new_process: Callable[..., Process], tmp_path: Path, web: Web
) -> None:
    kill_after = 1
    while await killed_and_resumed(bench, new_process, tmp_path, web, kill_after) is not None:
        kill_after += 1
    assert kill_after > 6

"""Workflow runs on real workers and a real Redis: what they write, and what a kill repeats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from headrace import TaskStatus
from tests.integration.worker.conftest import Bench, Process
from tests.unit.workflows.web import Answer, Web

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
    ("metadata", "factor"),
    [("", 1.2), ("headrace: {parallel: 4}", 2.2)],
    ids=["each replaces the data", "all are collected"],
)
async def test_a_run_writes_little_more_than_what_its_calls_return(
    bench: Bench,
    new_process: Callable[..., Process],
    tmp_path: Path,
    web: Web,
    metadata: str,
    factor: float,
) -> None:
    for name, count in (("warm", 1), ("calls", CALLS)):
        (tmp_path / f"{name}.yaml").write_text(HEAD % name + LOOP % (count, metadata))
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

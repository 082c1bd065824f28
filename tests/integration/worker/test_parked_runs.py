"""A thousand parked runs: what they cost while they wait, and that all of them go on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import NewTask, TaskStatus, new_id
from tests.integration.worker.conftest import Bench, Process, until
from tests.keyspace import indexed, unexpected_keys

ON_TIME, ON_CHILDREN = 700, 300
WAIT_SECONDS = 90
WINDOW_SECONDS = 30.0
DUE_SOON_SECONDS = 30
MOST = 0.01
"""Of a core."""
WAITS = """\
document: {dsl: '1.0.3', namespace: tests, name: waits, version: '1.0.0'}
do:
  - wait: {wait: {seconds: "${ .seconds }"}}
  - set: {set: {waited: true}}
"""
CALLS = """\
document: {dsl: '1.0.3', namespace: tests, name: calls, version: '1.0.0'}
do:
  - nap: {call: nap, input: {from: "${ 0 }"}}
"""


def worker_seconds(process: Process) -> float:
    """The time that a worker's process has computed."""
    fields = Path(f"/proc/{process.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def redis_seconds(bench: Bench) -> float:
    """The same of Redis."""
    info: Any = bench.server.client.info("cpu")
    return float(info["used_cpu_sys"] + info["used_cpu_user"])


def new_runs() -> list[NewTask]:
    return [
        NewTask(
            type="workflow_execute",
            payload=b'{"workflow_id": "%b"}' % name,
            payload_is_json=True,
            id=new_id(),
        )
        for name, count in ((b"waits", ON_TIME), (b"calls", ON_CHILDREN))
        for _ in range(count)
    ]


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_thousand_parked_runs_cost_less_than_a_hundredth_of_a_core_and_all_go_on(
    bench: Bench, new_process: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "waits.yaml").write_text(WAITS.replace('"${ .seconds }"', str(WAIT_SECONDS)))
    (tmp_path / "calls.yaml").write_text(CALLS)
    settings = {"LEASE_SECONDS": "15", "LOG_LEVEL": "warning"}

    def naps() -> Process:
        return new_process(QUEUES="nap", **settings)

    first = naps()  # its type is known from now on

    async def nap_is_known() -> bool:
        return "nap" in await bench.queue.types()

    await until(nap_is_known)
    first.kill()
    worker = new_process(
        QUEUES="workflow_execute", MAX_WORKERS="20", WORKFLOWS_DIR=str(tmp_path), **settings
    )
    runs = new_runs()
    began = time.monotonic()
    await bench.queue.submit_many(runs)

    async def figures() -> Any:
        return (await bench.queue.stats()).queues

    async def parked() -> bool:
        queues = await figures()
        found = queues["workflow_execute"]
        children = queues["nap"].queue_length if "nap" in queues else 0
        return (found.queue_length, found.running, children) == (0, 0, ON_CHILDREN)

    await until(parked, 60)
    parked_after = time.monotonic() - began
    assert parked_after + WINDOW_SECONDS + DUE_SOON_SECONDS < WAIT_SECONDS, "it took too long"
    before = worker_seconds(worker), redis_seconds(bench), time.monotonic()
    await asyncio.sleep(WINDOW_SECONDS)
    seconds = time.monotonic() - before[2]
    shares = {
        "worker": (worker_seconds(worker) - before[0]) / seconds,
        "redis": (redis_seconds(bench) - before[1]) / seconds,
    }
    print(f"1000 runs parked after {parked_after:.1f} s; shares of a core: {shares}")
    found = (await figures())["workflow_execute"]
    # They are no demand: the operator would let this pool go.
    assert (found.queue_length, found.running, found.due_soon) == (0, 0, 0)
    assert found.delayed == ON_TIME
    assert max(shares.values()) < MOST, shares

    naps()
    ended = [await bench.ended(run.id, 120) for run in runs]
    assert {record.status for record in ended} == {TaskStatus.COMPLETED}
    assert (await figures())["nap"].completions_total == ON_CHILDREN
    await until(lambda: not indexed(bench.server))
    assert unexpected_keys(bench.server) == []

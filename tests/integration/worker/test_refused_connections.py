"""Redis refuses some of a worker's connections, and not the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from headrace import Context, TaskStatus, handler
from headrace_worker.worker import Worker
from tests.conftest import ServerFactory
from tests.integration.worker.conftest import LEASE_SECONDS, Bench, until

Connection = Literal["calls", "waiting", "renewal", "signals"]
Way = Literal["maxclients", "password"]


@pytest.fixture
async def bench(new_server: ServerFactory) -> AsyncIterator[Bench]:
    bench = Bench(new_server())
    yield bench
    await bench.close()


def connections(bench: Bench, worker: Worker) -> dict[Connection, int]:
    """The ids of the only worker's four connections, once they are there."""
    consumer = worker._consumer
    calls, waiting = consumer._link.client_id, consumer._wait_link.client_id
    if calls is None or waiting is None:
        return {}
    found: dict[Connection, int] = {"calls": calls, "waiting": waiting}
    for client in bench.server.client.client_list():
        number = int(client["id"])
        if client["name"] == "headrace-worker" and number not in (calls, waiting):
            found["signals" if client["cmd"] == "blpop" else "renewal"] = number
    return found


def refuse(bench: Bench, way: Way, cut: list[int]) -> None:
    """Close these connections, and let nobody have a new one in their place."""
    client = bench.server.client
    if way == "password":
        client.execute_command("ACL", "SETUSER", bench.server.user, "resetpass", ">another")
    else:
        client.config_set("maxclients", len(client.client_list()) - len(cut))
    for number in cut:
        client.execute_command("CLIENT", "KILL", "ID", number)


def let_in(bench: Bench, way: Way) -> None:
    if way == "password":
        bench.server.client.execute_command("ACL", "SETUSER", bench.server.user, "nopass")
    else:
        bench.server.client.config_set("maxclients", 1000)


@pytest.mark.parametrize(
    ("way", "left"),
    [
        ("maxclients", "calls"),
        ("maxclients", "waiting"),
        ("maxclients", "renewal"),
        ("maxclients", "signals"),
        ("password", "calls"),
        ("password", "renewal"),
    ],
)
async def test_with_one_connection_left_its_tasks_run_once_and_it_claims_nothing(
    bench: Bench, way: Way, left: Connection
) -> None:
    runs: Counter[str] = Counter()
    end = asyncio.Event()

    async def work(ctx: Context, payload: Any) -> int:
        runs[ctx.task_id] += 1
        await end.wait()
        return ctx.attempt

    slow, other = handler("slow")(work), handler("other")(work)
    worker = bench.start(slow, other)
    held = await bench.submit("slow")
    await bench.reached(held, TaskStatus.RUNNING)
    await until(lambda: len(connections(bench, worker)) == 4)
    own = connections(bench, worker)
    # This one has all its connections, and would take over what is lost.
    healthy = bench.start(slow, concurrency=1)
    await until(lambda: healthy.ready and healthy._waiter is not None)

    refuse(bench, way, [number for name, number in own.items() if name != left])
    await until(lambda: not worker.leases.renewed_last or left in ("renewal", "signals"))
    unclaimed = await bench.submit("other")
    await asyncio.sleep(3 * LEASE_SECONDS)
    assert runs == {held: 1}
    assert (await bench.queue.get(unclaimed)).status is TaskStatus.QUEUED

    let_in(bench, way)
    end.set()
    for task_id in (held, unclaimed):
        record = await bench.ended(task_id)
        assert (record.result, record.crash_count) == (b"1", 0)
    assert runs == {held: 1, unclaimed: 1}
    stats = await bench.queue.stats()
    assert sum(queue.crashes_total for queue in stats.queues.values()) == 0
    await until(lambda: worker.leases.renewed_last and worker._waiter is not None)


async def test_with_its_claims_refused_alone_it_goes_on_claiming_over_its_other_connection(
    bench: Bench,
) -> None:
    @handler("work")
    async def work(ctx: Context, payload: Any) -> None: ...

    worker = bench.start(work)
    await bench.ended(await bench.submit("work"))
    await until(lambda: len(connections(bench, worker)) == 4)
    refuse(bench, "maxclients", [connections(bench, worker)["waiting"]])
    for _ in range(3):
        assert (await bench.ended(await bench.submit("work"))).crash_count == 0

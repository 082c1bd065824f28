"""What a context brings in a worker: headers, submits, lifespans; and middleware around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from headrace import Context, NewTask, TaskStatus, handler, new_id
from headrace.handlers import CallNext, Handled, LifespanFailed, Resources
from tests.integration.worker.conftest import Bench, until


class Item(BaseModel):
    """A payload."""

    number: int


async def test_a_handler_finds_the_headers_of_its_task(bench: Bench) -> None:
    @handler("show")
    async def show(ctx: Context, payload: Any) -> dict[str, str]:
        return dict(ctx.headers)

    bench.start(show)
    sent = {"traceparent": "00-1-2-01", "tenant": "blue"}
    task = NewTask(type="show", payload=b"null", id=new_id(), headers=sent)
    await bench.queue.submit(task)
    assert (await bench.ended(task.id)).result == b'{"traceparent":"00-1-2-01","tenant":"blue"}'
    assert (await bench.ended(await bench.submit("show"))).result == b"{}"


async def test_a_second_attempt_submits_no_second_task(bench: Bench) -> None:
    ran: list[int] = []

    @handler("count", max_retries=5)
    async def count(ctx: Context, item: Item) -> None:
        ran.append(item.number)

    @handler("order")
    async def order(ctx: Context, payload: Any) -> list[str]:
        ids = [await ctx.submit(count, Item(number=n)) for n in range(2)]
        if ctx.attempt == 1:
            raise ConnectionError("after both submits")
        ids.append(await ctx.submit("count", {"number": 10 + ctx.attempt}))
        return ids

    bench.start(count, order)
    record = await bench.ended(await bench.submit("order"))
    assert (record.status, record.retry_count) == (TaskStatus.COMPLETED, 1)
    await until(lambda: len(ran) == 3)
    await asyncio.sleep(0.05)
    assert sorted(ran) == [0, 1, 12]


async def test_a_payload_that_changed_a_little_makes_no_second_task_either(bench: Bench) -> None:
    @handler("order")
    async def order(ctx: Context, payload: Any) -> str:
        task_id = await ctx.submit("elsewhere", {"attempt": ctx.attempt})
        if ctx.attempt == 1:
            raise ConnectionError("after the submit")
        return task_id

    bench.start(order)
    record = await bench.ended(await bench.submit("order"))
    assert record.status is TaskStatus.COMPLETED
    [task_id] = [record.result.decode().strip('"')] if record.result else [""]
    assert (await bench.queue.get(task_id)).payload == b'{"attempt":1}'


async def test_what_the_queue_does_not_take_is_an_error_of_the_handlers(bench: Bench) -> None:
    @handler("order", max_retries=0)
    def order(ctx: Context, payload: Any) -> None:
        ctx.wait(ctx.submit("No Such Name", None))

    bench.start(order)
    record = await bench.ended(await bench.submit("order", max_retries=0))
    assert record.status is TaskStatus.FAILED
    assert (record.error or "").startswith("SubmitFailed: ")


async def test_a_lifespan_is_open_from_before_the_first_attempt_until_after_the_last(
    bench: Bench,
) -> None:
    lines: list[str] = []

    @asynccontextmanager
    async def database() -> AsyncIterator[list[str]]:
        lines.append("open")
        yield lines
        lines.append("close")

    @handler("write")
    async def write(ctx: Context, payload: Any) -> None:
        await asyncio.sleep(0.1)
        ctx.value(database).append("written")

    async def watched(ctx: Context, call_next: CallNext) -> Handled:
        lines.append("begin")
        try:
            return await call_next()
        finally:
            lines.append("end")

    worker = bench.start(write, resources=Resources(middleware=[watched], lifespans=[database]))
    task_id = await bench.submit("write")
    await until(lambda: "begin" in lines)
    assert await bench.stop(worker) == 0
    assert (await bench.queue.get(task_id)).status is TaskStatus.COMPLETED
    assert lines == ["open", "begin", "written", "end", "close"]


async def test_a_lifespan_that_fails_ends_the_worker_before_it_claims(bench: Bench) -> None:
    async def connect() -> None:
        raise ConnectionError("nobody listens at db:5432")

    @asynccontextmanager
    async def database() -> AsyncIterator[None]:
        await connect()
        yield

    @handler("write")
    async def write(ctx: Context, payload: Any) -> None: ...

    task_id = await bench.submit("write")
    bench.start(write, resources=Resources(lifespans=[database]))
    _, running = bench.workers.pop()
    with pytest.raises(LifespanFailed, match="ConnectionError: nobody listens at db:5432"):
        await asyncio.wait_for(running, 10)
    assert (await bench.queue.get(task_id)).status is TaskStatus.QUEUED
    assert await bench.registered() == []


async def test_a_worker_that_waits_for_a_lifespan_can_be_stopped(bench: Bench) -> None:
    entering = asyncio.Event()

    @asynccontextmanager
    async def hanging() -> AsyncIterator[None]:
        entering.set()
        await asyncio.Event().wait()
        yield

    @handler("write")
    async def write(ctx: Context, payload: Any) -> None: ...

    worker = bench.start(write, resources=Resources(lifespans=[hanging]))
    await entering.wait()
    assert await bench.stop(worker) == 0

"""Runs inside a request: bounded in number and in time, and always with a final record."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, field_validator

from headrace.client.opening import type_info
from headrace.contract.problems import INLINE_BUSY
from headrace.handlers import (
    CallNext,
    Context,
    FurtherTask,
    Handled,
    Returned,
    TaskType,
    handler,
)
from headrace.taskqueue import NewTask, TaskStatus, new_id
from headrace_api.http.problems import Problem
from headrace_api.tasks.inline import InlineRunner
from headrace_api.tasks.task_types import TaskTypeEntry
from tests.unit.handlers import process_handlers

release = threading.Event()


@handler("echo")
async def echo(ctx: Context, payload: Any) -> Any:
    ctx.progress(40, "on the way")
    assert not ctx.can_park
    return payload


@handler("failing")
async def failing(ctx: Context, payload: Any) -> None:
    raise ValueError("no such city")


@handler("endless")
async def endless(ctx: Context, payload: Any) -> None:
    await asyncio.Event().wait()


@handler("stuck")
def stuck(ctx: Context, payload: Any) -> None:
    release.wait(20)


def runner(max_running: int = 2, timeout_seconds: float = 5.0) -> InlineRunner:
    return InlineRunner(
        max_running=max_running,
        timeout_seconds=timeout_seconds,
        max_result_bytes=1000,
    )


def task(task_type: TaskType[Any, Any]) -> NewTask:
    return NewTask(type=task_type.name, payload=b'{"a":1}', id=new_id())


async def test_a_result_makes_a_completed_record() -> None:
    inline = runner()
    record = await inline.run(echo, task(echo))
    assert record.status is TaskStatus.COMPLETED
    assert record.result == b'{"a":1}'
    assert record.progress_percent == 40
    assert record.completed_at is not None
    assert (record.attempt, record.worker, inline.running) == (1, None, 0)


async def test_an_error_makes_a_failed_record() -> None:
    record = await runner().run(failing, task(failing))
    assert record.status is TaskStatus.FAILED
    assert record.error == "ValueError: no such city"
    assert record.result is None


class Odd(BaseModel):
    """A payload whose own check fails."""

    a: int

    @field_validator("a")
    @classmethod
    def _look_up(cls, value: int) -> int:
        raise KeyError("no such table")


@handler("odd")
async def odd(ctx: Context, payload: Odd) -> None:
    """Never runs."""


async def test_a_payload_check_that_breaks_fails_the_run_and_frees_its_slot() -> None:
    inline = runner(max_running=1)
    TaskTypeEntry(type_info(odd), odd, None).check(b'{"a":1}', "/payload")
    for _ in range(2):
        record = await inline.run(odd, task(odd))
        assert record.status is TaskStatus.FAILED
        assert "no such table" in (record.error or "")
        assert inline.running == 0


async def test_a_run_past_its_time_is_failed_and_names_the_setting() -> None:
    inline = runner(timeout_seconds=0.05)
    record = await inline.run(endless, task(endless))
    assert record.status is TaskStatus.FAILED
    assert record.error is not None
    assert "INLINE_TIMEOUT_SECONDS" in record.error
    await asyncio.sleep(0)
    assert inline.running == 0


async def test_past_the_bound_the_answer_is_a_503_with_retry_after() -> None:
    inline = runner(max_running=1)
    first = asyncio.create_task(inline.run(endless, task(endless)))
    await asyncio.sleep(0)
    with pytest.raises(Problem) as caught:
        await inline.run(echo, task(echo))
    assert caught.value.kind is INLINE_BUSY
    assert int(caught.value.headers["Retry-After"]) >= 1
    first.cancel()


async def test_a_thread_past_its_time_keeps_its_slot_until_it_ends() -> None:
    release.clear()
    inline = runner(max_running=1, timeout_seconds=0.05)
    record = await inline.run(stuck, task(stuck))
    assert record.status is TaskStatus.FAILED
    with pytest.raises(Problem):
        await inline.run(echo, task(echo))
    release.set()
    async with asyncio.timeout(5):
        while inline.running:  # noqa: ASYNC110 - the thread's end sets no event
            await asyncio.sleep(0.001)
    assert (await inline.run(echo, task(echo))).status is TaskStatus.COMPLETED


@pytest.mark.parametrize("task_type", [endless, stuck])
async def test_a_run_whose_caller_goes_is_stopped_and_frees_its_slot(
    task_type: TaskType[Any, Any],
) -> None:
    release.clear()
    inline = runner(max_running=1, timeout_seconds=0.05)
    caller = asyncio.create_task(inline.run(task_type, task(task_type)))
    async with asyncio.timeout(5):
        while not inline.running:  # noqa: ASYNC110 - its begin sets no event
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        release.set()  # a thread cannot be stopped, and keeps its slot until it ends
        while inline.running:  # noqa: ASYNC110 - the end of its code sets no event
            await asyncio.sleep(0.001)
    assert caller.cancelled()
    assert (await inline.run(echo, task(echo))).status is TaskStatus.COMPLETED


async def test_a_run_knows_the_nearer_of_its_limits() -> None:
    @handler("asked", timeout_seconds=100)
    async def asked(ctx: Context, payload: Any) -> float:
        assert ctx.deadline is not None
        return (ctx.deadline - datetime.now(UTC)).total_seconds()

    for seconds in (5.0, 1000.0):
        record = await runner(timeout_seconds=seconds).run(asked, task(asked))
        assert record.result is not None
        assert float(record.result) == pytest.approx(min(seconds, 100), abs=1)


@asynccontextmanager
async def database() -> AsyncIterator[list[str]]:
    opened.append("open")
    yield opened
    opened.append("close")


@asynccontextmanager
async def broken() -> AsyncIterator[None]:
    await asyncio.sleep(0)
    opened.append("tried")
    if opened:
        raise ConnectionError("nobody listens")
    yield


opened: list[str] = []


@handler("write")
async def write(ctx: Context, payload: Any) -> None:
    ctx.value(database).append("written")


@handler("order")
async def order(ctx: Context, payload: Any) -> str:
    return await ctx.submit("elsewhere", None)


def runner_with(**parts: Any) -> InlineRunner:
    opened.clear()
    return InlineRunner(max_running=2, timeout_seconds=20, max_result_bytes=1000, **parts)


async def test_the_first_run_enters_the_lifespans_and_the_end_leaves_them() -> None:
    inline = runner_with(lifespans=[database])
    assert opened == []
    for _ in range(2):
        assert (await inline.run(write, task(write))).status is TaskStatus.COMPLETED
    await inline.close()
    assert opened == ["open", "written", "written", "close"]


async def test_a_run_whose_lifespan_fails_fails_and_the_next_one_tries_again() -> None:
    inline = runner_with(lifespans=[broken])
    for _ in range(2):
        record = await inline.run(write, task(write))
        assert record.status is TaskStatus.FAILED
        assert "broken failed as it was entered: ConnectionError" in (record.error or "")
    assert opened == ["tried", "tried"]
    assert inline.running == 0
    await inline.close()


async def test_middleware_is_around_a_run() -> None:
    async def replaced(ctx: Context, call_next: CallNext) -> Handled:
        await call_next()
        return Returned(b'"replaced"')

    record = await runner_with(middleware=[replaced]).run(echo, task(echo))
    assert record.result == b'"replaced"'


async def test_what_a_run_submits_goes_into_the_queue_or_fails_the_run() -> None:
    taken: list[FurtherTask] = []

    async def take(task: FurtherTask) -> None:
        taken.append(task)

    record = await runner_with(submit=take).run(order, task(order))
    assert record.result == f'"{taken[0].id}"'.encode()
    record = await runner_with().run(order, task(order))
    assert record.error == ("SubmitFailed: there is no queue to submit to: QUEUE_ENABLED is false")


async def test_a_handler_of_a_process_runs_in_one_here_too() -> None:
    inline = runner_with()
    number = NewTask(type="double", payload=b'{"value":4}', id=new_id())
    record = await inline.run(process_handlers.double, number)
    assert record.result is not None
    assert msgspec.json.decode(record.result)["pid"] != os.getpid()
    await inline.close()


@handler("family")
async def family(ctx: Context, payload: Any) -> list[str | None]:
    ids = [await ctx.submit(name, payload, key=name, child=True) for name in ("echo", "failing")]
    ids.append(await ctx.submit("echo", payload, key="echo", child=True))
    await ctx.cancel_child(ids[0])
    ends = [await ctx.child(task_id) for task_id in ids]
    return [(end.result or b"").decode() + (end.error or "") if end else None for end in ends]


@handler("deep")
async def deep(ctx: Context, payload: Any) -> str:
    end = await ctx.child(await ctx.submit(deep, payload, child=True))
    assert end is not None
    return end.error or (end.result or b"").decode()


async def test_a_child_of_a_run_is_run_in_place() -> None:
    types = {each.name: each for each in (echo, failing)}
    record = await runner_with(types=types).run(family, task(family))
    assert record.result is not None
    assert msgspec.json.decode(record.result) == [
        '{"a":1}',
        "ValueError: no such city",
        '{"a":1}',
    ]


async def test_a_child_that_the_api_has_no_handler_for_is_refused() -> None:
    record = await runner_with().run(family, task(family))
    assert "SubmitFailed: the API has no handler of the task type 'echo'" in str(record.error)


async def test_children_of_children_end_somewhere() -> None:
    inline = runner_with(types={"deep": deep}, max_depth=3)
    record = await inline.run(deep, task(deep))
    assert b"a child may lie 3 tasks deep at most" in (record.result or b"")
    assert inline.running == 0

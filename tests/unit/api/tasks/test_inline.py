"""Runs inside a request: bounded in number and in time, and always with a final record."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from headrace.client.opening import type_info
from headrace.contract.problems import INLINE_BUSY
from headrace.handlers import Context, TaskType, handler
from headrace.taskqueue import NewTask, TaskStatus, new_id
from headrace_api.http.problems import Problem
from headrace_api.tasks.inline import InlineRunner
from headrace_api.tasks.task_types import TaskTypeEntry

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

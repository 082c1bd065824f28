"""How tasks end: results, retries, time-outs, cancels, parking, progress."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pydantic import BaseModel, model_validator

from headrace import Backoff, Context, Fatal, Park, TaskStatus, handler
from headrace.handlers import Resources
from headrace.taskqueue import AttemptOutcome
from tests.integration.worker.conftest import Bench, until

SOON = Backoff(base_seconds=0.01, cap_seconds=0.02)


class Order(BaseModel):
    """A payload."""

    item: str
    count: int = 1


async def test_a_task_runs_and_its_result_is_kept(bench: Bench) -> None:
    @handler("order")
    async def order(ctx: Context, payload: Order) -> dict[str, Any]:
        ctx.progress(50, "packing")
        return {"item": payload.item, "at": datetime(2026, 1, 1, tzinfo=UTC)}

    worker = bench.start(order)
    task = await bench.ended(await bench.submit("order", {"item": "tea"}))
    assert task.status is TaskStatus.COMPLETED
    assert task.result == b'{"item":"tea","at":"2026-01-01T00:00:00Z"}'
    assert task.worker == worker.info.id
    assert (task.progress_percent, task.progress_message) == (50.0, "packing")


async def test_a_failing_task_is_tried_again_until_it_works(bench: Bench) -> None:
    attempts = []

    @handler("flaky", backoff=SOON)
    async def flaky(ctx: Context, payload: Any) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise ConnectionError("not yet")
        return ctx.attempt

    bench.start(flaky)
    task = await bench.ended(await bench.submit("flaky"))
    assert (task.status, task.result, task.retry_count) == (TaskStatus.COMPLETED, b"3", 2)
    assert attempts == [1, 2, 3]


async def test_a_task_fails_for_good_once_its_retries_are_used_up(bench: Bench) -> None:
    @handler("hopeless", backoff=SOON)
    def hopeless(ctx: Context, payload: Any) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    bench.start(hopeless)
    task = await bench.ended(await bench.submit("hopeless", max_retries=2))
    assert (task.status, task.error, task.retry_count) == (
        TaskStatus.FAILED,
        "ValueError: attempt 3",
        2,
    )


async def test_attempts_are_kept_with_the_place_where_each_failed(bench: Bench) -> None:
    @handler("late", backoff=SOON)
    def late(ctx: Context, payload: Any) -> int:
        secret = "hunter2"
        if ctx.attempt == 1:
            raise LookupError(f"{len(secret)} letters")
        return ctx.attempt

    bench.start(late)
    task = await bench.ended(await bench.submit("late"))
    first, second = await bench.queue.attempts(task.id)
    assert (first.outcome, first.error, first.error_type) == (
        AttemptOutcome.FAILED,
        "LookupError: 7 letters",
        "LookupError",
    )
    assert first.traceback is not None
    assert 'raise LookupError(f"{len(secret)} letters")' in first.traceback
    assert "hunter2" not in first.traceback
    assert (first.worker, first.worker_version) == (task.worker, "1")
    assert (second.number, second.outcome) == (2, AttemptOutcome.COMPLETED)


async def test_what_cannot_be_mended_is_not_tried_again(bench: Bench) -> None:
    @handler("fatal")
    async def fatal(ctx: Context, payload: Order) -> Any:
        if payload.item == "huge":
            return "x" * 200
        raise Fatal("the card was refused")

    bench.start(fatal, resources=Resources(max_result_bytes=100))
    ids = [
        await bench.submit("fatal", payload) for payload in ({"item": "tea"}, {}, {"item": "huge"})
    ]
    tasks = [await bench.ended(task_id) for task_id in ids]
    assert [task.status for task in tasks] == [TaskStatus.FAILED] * 3
    assert [task.retry_count for task in tasks] == [0, 0, 0]
    errors = [task.error or "" for task in tasks]
    assert errors[0] == "the card was refused"
    assert "item: Field required" in errors[1]
    assert "202 bytes, the limit is 100" in errors[2]


async def test_a_coroutine_past_its_time_out_is_cancelled_and_tried_again(bench: Bench) -> None:
    @handler("slow", timeout_seconds=0.05, backoff=SOON)
    async def slow(ctx: Context, payload: Any) -> str:
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        return "second"

    bench.start(slow)
    task = await bench.ended(await bench.submit("slow"))
    assert (task.status, task.result, task.retry_count) == (TaskStatus.COMPLETED, b'"second"', 1)


async def test_a_thread_past_its_time_out_fails_its_task_and_keeps_its_slot(bench: Bench) -> None:
    release = threading.Event()

    @handler("stuck", timeout_seconds=0.05, max_retries=0)
    def stuck(ctx: Context, payload: Any) -> None:
        release.wait(30)

    worker = bench.start(stuck, concurrency=1)
    try:
        first = await bench.ended(await bench.submit("stuck", max_retries=0))
        assert first.status is TaskStatus.FAILED
        assert "took longer than 0.05 s" in (first.error or "")

        async def seen() -> bool:
            [status] = await bench.registered()
            return [(running.id, running.timed_out) for running in status.running] == [
                (first.id, True)
            ]

        await until(seen)
        second = await bench.submit("stuck", max_retries=0)
        await asyncio.sleep(0.2)
        assert (await bench.queue.get(second)).status is TaskStatus.QUEUED
        assert len(worker.leftovers) == 1
    finally:
        release.set()
    await bench.ended(second)
    await until(lambda: not worker.leftovers)


async def test_a_running_coroutine_is_cancelled_on_request(bench: Bench) -> None:
    tidied = []

    @handler("long")
    async def long(ctx: Context, payload: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            tidied.append(bool(ctx.cancelled))

    bench.start(long)
    task_id = await bench.submit("long")
    await bench.reached(task_id, TaskStatus.RUNNING)
    began = time.monotonic()
    assert await bench.queue.cancel(task_id, running=True) is TaskStatus.RUNNING
    assert (await bench.ended(task_id)).status is TaskStatus.CANCELLED
    assert time.monotonic() - began < 1
    assert tidied == [True]


async def test_a_running_thread_hears_of_a_cancel(bench: Bench) -> None:
    @handler("long")
    def long(ctx: Context, payload: Any) -> str:
        assert ctx.cancelled.wait(30)
        return "half of it"

    bench.start(long)
    task_id = await bench.submit("long")
    await bench.reached(task_id, TaskStatus.RUNNING)
    await bench.queue.cancel(task_id, running=True)
    task = await bench.ended(task_id)
    assert (task.status, task.result) == (TaskStatus.CANCELLED, None)


async def test_a_parked_task_frees_its_slot_and_goes_on_from_its_state(bench: Bench) -> None:
    states = []

    @handler("stages")
    async def stages(ctx: Context, payload: Any) -> Any:
        states.append((ctx.state, ctx.attempt))
        if ctx.state is None:
            return Park(datetime.now(UTC) + timedelta(seconds=0.3), b"\x00one")
        return "done"

    worker = bench.start(stages, concurrency=1)
    task_id = await bench.submit("stages")
    parked = await bench.reached(task_id, TaskStatus.PENDING)
    assert parked.started_at is not None
    assert worker._hand.idle
    task = await bench.ended(task_id)
    assert (task.status, task.retry_count, task.result) == (TaskStatus.COMPLETED, 0, b'"done"')
    assert task.started_at == parked.started_at
    assert states == [(None, 1), (b"\x00one", 1)]


async def test_a_task_parked_for_its_inbox_goes_on_with_the_items(bench: Bench) -> None:
    @handler("approval")
    async def approval(ctx: Context, payload: Any) -> Any:
        if not ctx.inbox:
            return Park(None, b"asked", wake_on="inbox")
        return [item.decode() for item in ctx.inbox]

    bench.start(approval, concurrency=1)
    task_id = await bench.submit("approval")
    parked = await bench.reached(task_id, TaskStatus.PENDING)
    assert parked.due_at is None
    await bench.queue.wake(task_id, b"granted")
    task = await bench.ended(task_id)
    assert (task.status, task.result) == (TaskStatus.COMPLETED, b'["granted"]')


async def test_a_retry_goes_on_from_the_last_checkpoint(bench: Bench) -> None:
    states = []

    @handler("steps", backoff=SOON)
    async def steps(ctx: Context, payload: Any) -> str:
        states.append(ctx.state)
        if ctx.state is None:
            await ctx.checkpoint(b"first step")
            raise ConnectionError
        return "done"

    bench.start(steps)
    assert (await bench.ended(await bench.submit("steps"))).status is TaskStatus.COMPLETED
    assert states == [None, b"first step"]


async def test_progress_is_seen_while_a_task_runs(bench: Bench) -> None:
    go_on = asyncio.Event()

    @handler("long")
    async def long(ctx: Context, payload: Any) -> None:
        for percent in range(61):
            ctx.progress(percent, f"row {percent}")
        await go_on.wait()
        ctx.progress(100, "all rows")

    bench.start(long)
    task_id = await bench.submit("long")

    async def seen() -> bool:
        task = await bench.queue.get(task_id)
        return (task.progress_percent, task.progress_message) == (60.0, "row 60")

    await until(seen)
    go_on.set()
    task = await bench.ended(task_id)
    assert (task.progress_percent, task.progress_message) == (100.0, "all rows")


async def test_progress_from_a_thread_is_seen_too(bench: Bench) -> None:
    @handler("thread")
    def thread(ctx: Context, payload: Any) -> None:
        ctx.progress(42, "in a thread")

    bench.start(thread)
    task = await bench.ended(await bench.submit("thread"))
    assert (task.progress_percent, task.progress_message) == (42.0, "in a thread")


class Touchy(BaseModel):
    """A payload whose check raises what no check should."""

    @model_validator(mode="before")
    @classmethod
    def touch(cls, data: Any) -> Any:
        return data["missing"]


async def test_what_a_task_type_gets_wrong_leaves_the_worker_and_its_other_tasks_alone(
    bench: Bench,
) -> None:
    @handler("touchy")
    async def touchy(ctx: Context, payload: Touchy) -> None: ...

    @handler("careless")
    async def careless(ctx: Context, payload: str) -> Any:
        state: Any = {"step": 2}
        late = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
        return Park(late, b"") if payload == "time" else Park(datetime.now(UTC), state)

    goes_on = asyncio.Event()

    @handler("steady")
    async def steady(ctx: Context, payload: Any) -> str:
        await goes_on.wait()
        return "done"

    worker = bench.start(touchy, careless, steady, concurrency=4)
    steady_id = await bench.submit("steady")
    await bench.reached(steady_id, TaskStatus.RUNNING)
    wrong = [
        await bench.submit("touchy", {}),
        await bench.submit("careless", "state"),
        await bench.submit("careless", "time"),
    ]
    tasks = [await bench.ended(task_id) for task_id in wrong]
    assert [task.status for task in tasks] == [TaskStatus.FAILED] * 3
    assert [task.retry_count for task in tasks] == [0] * 3
    assert (tasks[0].error or "").startswith("KeyError")
    goes_on.set()
    assert (await bench.ended(steady_id)).status is TaskStatus.COMPLETED
    assert await bench.stop(worker) == 0

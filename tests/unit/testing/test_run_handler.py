"""One handler alone, as a package tests its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, assert_type

import pytest
from pydantic import BaseModel

from headrace import Context, Fatal, Park, PayloadInvalid, handler
from headrace.handlers import CallNext, ChildEnd, Handled
from headrace.testing import run_handler
from tests.unit.handlers import process_handlers


class Order(BaseModel):
    """A payload."""

    item: str
    count: int = 1


class Bill(BaseModel):
    """A result."""

    total: int


@asynccontextmanager
async def prices() -> AsyncIterator[dict[str, int]]:
    yield {}


@handler("bill")
async def bill(ctx: Context, order: Order) -> Bill:
    ctx.progress(50, "adding up")
    await ctx.checkpoint(b"half")
    await ctx.submit(remind, order)
    return Bill(total=order.count * ctx.value(prices)[order.item])


@handler("remind")
def remind(ctx: Context, order: Order) -> str | Park:
    if ctx.state is None:
        return Park(datetime(2030, 1, 1, tzinfo=UTC), b"later")
    return f"{ctx.attempt} {ctx.headers['from']}"


@handler("fail", timeout_seconds=0.05)
async def fail(ctx: Context, how: str) -> None:
    match how:
        case "own":
            raise ConnectionError("refused")
        case "fatal":
            raise Fatal("never")
        case _:
            await asyncio.Event().wait()


@handler("odd")
def odd(ctx: Context, payload: Any) -> Any:
    return object()


async def test_the_result_comes_as_its_annotation_has_it_with_all_that_was_asked_for() -> None:
    run = await run_handler(bill, Order(item="tea", count=3), values={prices: {"tea": 2}})
    assert_type(run.result, Bill)
    assert run.result == Bill(total=6)
    assert run.progress == [(50.0, "adding up")]
    assert run.checkpoints == [b"half"]
    assert [(task.type, task.payload) for task in run.submitted] == [
        ("remind", b'{"item":"tea","count":3}')
    ]


async def test_a_park_is_what_comes_back_and_its_state_goes_in_again() -> None:
    first = await run_handler(remind, Order(item="tea"))
    assert isinstance(first.result, Park)
    assert_type(first.result, Park)
    second = await run_handler(
        remind, Order(item="tea"), state=first.result.state, attempt=2, headers={"from": "Ada"}
    )
    assert_type(second.result, str | Park)
    assert second.result == "2 Ada"


async def test_errors_are_the_handlers_own() -> None:
    with pytest.raises(ConnectionError, match="refused"):
        await run_handler(fail, "own")
    with pytest.raises(Fatal, match="never"):
        await run_handler(fail, "fatal")
    with pytest.raises(TimeoutError, match=r"longer than 0\.05 s"):
        await run_handler(fail, "endless")
    with pytest.raises(Fatal, match="the result cannot be written as JSON"):
        await run_handler(odd, None)
    with pytest.raises(PayloadInvalid, match="item: Field required"):
        await run_handler(bill, {})  # type: ignore[misc]


async def test_a_handler_of_a_process_runs_here() -> None:
    run = await run_handler(process_handlers.double, process_handlers.Number(value=4))
    assert run.result["pid"] == os.getpid()


async def test_middleware_is_around_it() -> None:
    seen: list[str] = []

    async def watching(ctx: Context, call_next: CallNext) -> Handled:
        seen.append(ctx.task_type)
        return await call_next()

    await run_handler(remind, Order(item="tea"), middleware=[watching])
    assert seen == ["remind"]


@handler("album")
async def album(ctx: Context, photos: list[str]) -> str | Park:
    ids = [await ctx.submit("resize", photo, key=photo, child=True) for photo in photos]
    ends = [await ctx.child(task_id) for task_id in ids]
    if None in ends:
        await ctx.cancel_child(ids[0])
        return Park(None, None, wake_on="inbox", entries=[b"waiting"])
    with pytest.raises(LookupError):
        await ctx.child("another")
    return "".join((end.result or b"").decode() for end in ends if end)


async def test_children_end_as_the_test_says() -> None:
    run = await run_handler(album, ["a", "b"], children={"resize": ChildEnd("completed", b"1")})
    assert run.result == "11"
    assert [(task.type, task.child) for task in run.submitted] == [("resize", True)] * 2
    run = await run_handler(album, ["a", "b"])
    assert run.result == Park(None, None, wake_on="inbox", entries=[b"waiting"])
    assert run.cancelled == [run.submitted[0].id]


async def test_what_it_appends_is_shown_and_a_journal_can_be_given() -> None:
    run = await run_handler(count, None, journal=[b"1", b"2"])
    assert (run.result, run.journal) == (3, [b"3"])


@handler("count")
async def count(ctx: Context, payload: None) -> int:
    await ctx.append([b"3"])
    return len(ctx.journal)

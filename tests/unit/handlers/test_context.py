"""What a context tells its handler, and passes on to its host."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from headrace.handlers import CancelSignal, ChildEnd, Context, Park, PayloadInvalid, handler
from tests.unit.handlers.recording_host import RecordingHost, make_context


def test_the_cancel_signal_wakes_threads_that_wait_for_it() -> None:
    signal = CancelSignal()
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(signal.wait(30))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert not signal
    signal.set()
    for thread in threads:
        thread.join(10)
    assert seen == [True] * 4
    assert signal.is_set()


def test_waiting_for_a_signal_that_is_set_returns_at_once() -> None:
    signal = CancelSignal()
    signal.set()
    signal.set()
    assert signal.wait(30)
    assert signal


def test_waiting_for_a_signal_that_never_comes_ends_with_its_time_out() -> None:
    assert CancelSignal().wait(0.001) is False


@pytest.mark.parametrize(
    ("given", "shown"), [(0, 0.0), (42.5, 42.5), (100, 100.0), (-3, 0.0), (101, 100.0)]
)
def test_progress_is_held_to_a_percentage(given: float, shown: float) -> None:
    host = RecordingHost()
    make_context(host).progress(given, "half way")
    assert host.reports == [(shown, "half way")]


def test_progress_that_is_no_number_counts_as_none() -> None:
    host = RecordingHost()
    make_context(host).progress(float("nan"))
    assert host.reports == [(0.0, None)]


@pytest.mark.parametrize("state", [{"step": 2}, "text", bytearray(b"x"), b"x" * (2**24 + 1)])
async def test_a_checkpoint_that_cannot_be_kept_is_refused(state: Any) -> None:
    host = RecordingHost()
    ctx = make_context(host, state=b"before")
    with pytest.raises(ValueError, match="this checkpoint carries a "):
        await ctx.checkpoint(state)
    assert (ctx.state, host.checkpoints) == (b"before", [])


async def test_a_checkpoint_becomes_the_state() -> None:
    host = RecordingHost()
    ctx = make_context(host, state=b"before")
    await ctx.checkpoint(b"after")
    assert ctx.state == b"after"
    assert host.checkpoints == [b"after"]


def test_a_context_without_a_time_limit_has_no_deadline() -> None:
    ctx = make_context()
    assert ctx.deadline is None
    ctx.set_deadline(1_700_000_000.0)
    assert ctx.deadline == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_the_logger_carries_the_task() -> None:
    ctx = make_context(attempt=3)
    assert ctx.log is ctx.log
    assert ctx.log._context == {"task_id": ctx.task_id, "type": "greet", "attempt": 3}


def test_parking_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Park(datetime(2026, 1, 1), b"")  # noqa: DTZ001 - the mistake under test


class Resize(BaseModel):
    """A payload."""

    url: str
    width: int = 800


@handler("resize", max_retries=7)
async def resize(ctx: Context, payload: Resize) -> None: ...


async def test_a_submit_carries_what_the_handler_takes() -> None:
    host = RecordingHost()
    task_id = await make_context(host).submit(resize, Resize(url="a.png"))
    [task] = host.submitted
    assert (task.id, task.type, task.max_retries, task.start_at) == (task_id, "resize", 7, None)
    assert task.payload == b'{"url":"a.png","width":800}'


async def test_a_submit_by_name_takes_any_json() -> None:
    host = RecordingHost()
    ctx = make_context(host)
    await ctx.submit("elsewhere", {"a": [1]}, max_retries=0)
    [task] = host.submitted
    assert (task.type, task.payload, task.max_retries) == ("elsewhere", b'{"a":[1]}', 0)


async def test_a_second_attempt_submits_under_the_same_ids() -> None:
    first, second = RecordingHost(), RecordingHost()
    for host in (first, second):
        ctx = make_context(host)
        await ctx.submit(resize, Resize(url="a.png"))
        await ctx.submit(resize, Resize(url="b.png"))
    ids = [task.id for task in first.submitted]
    assert ids == [task.id for task in second.submitted]
    assert len({uuid.UUID(it).version for it in ids} | set(ids)) == 3


async def test_an_attempt_that_goes_on_from_a_state_submits_what_comes_after_it() -> None:
    host, resumed = RecordingHost(), RecordingHost()
    ctx = make_context(host)
    await ctx.submit(resize, Resize(url="a.png"))
    await ctx.checkpoint(b"a is submitted")
    await ctx.submit(resize, Resize(url="b.png"))
    again = make_context(resumed, state=b"a is submitted")
    await again.submit(resize, Resize(url="b.png"))
    first, second = host.submitted
    assert resumed.submitted == [second]
    assert first.id != second.id


async def test_a_key_says_which_submit_it_is_whatever_the_order() -> None:
    host = RecordingHost()
    ctx = make_context(host)
    a = await ctx.submit(resize, Resize(url="a.png"), key="a")
    b = await ctx.submit(resize, Resize(url="b.png"), key="b")
    assert a != b
    assert await make_context(host, state=b"x").submit(resize, Resize(url="a.png"), key="a") == a


async def test_a_payload_that_the_handler_would_refuse_is_not_submitted() -> None:
    host = RecordingHost()
    with pytest.raises(PayloadInvalid, match="url: Field required"):
        await make_context(host).submit(resize, {"width": 3})  # type: ignore[misc]
    assert host.submitted == []


async def test_a_submit_may_start_later() -> None:
    host = RecordingHost()
    ctx = make_context(host)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    await ctx.submit("later", None, start_at=at)
    await ctx.submit("later", None, start_in=timedelta(hours=1))
    assert host.submitted[0].start_at == at
    assert host.submitted[1].start_at is not None
    with pytest.raises(ValueError, match="start_at needs a time zone"):
        await ctx.submit("later", None, start_at=at.replace(tzinfo=None))


async def test_a_plain_handler_waits_for_coroutines_in_its_thread() -> None:
    host = RecordingHost()
    ctx = make_context(host)
    task_id = await asyncio.to_thread(lambda: ctx.wait(ctx.submit("other", None)))
    assert [task.id for task in host.submitted] == [task_id]
    with pytest.raises(RuntimeError, match="write `await` instead"):
        ctx.wait(ctx.submit("other", None))


async def test_a_context_has_the_headers_of_its_task() -> None:
    assert dict(make_context().headers) == {}
    ctx = Context("a", "greet", RecordingHost(), headers={"traceparent": "00-1-2-01"})
    assert ctx.headers["traceparent"] == "00-1-2-01"


def test_a_value_of_a_lifespan_that_was_not_entered_is_named() -> None:
    @asynccontextmanager
    async def database() -> AsyncIterator[str]:
        yield "pool"

    host = RecordingHost()
    ctx = make_context(host)
    with pytest.raises(LookupError, match=r"'database' was not entered.*headrace\.lifespan"):
        ctx.value(database)
    host.values[database] = "pool"
    assert ctx.value(database) == "pool"


async def test_what_is_appended_is_in_the_journal_until_the_state_is_written() -> None:
    host = RecordingHost()
    ctx = make_context(host, journal=(b"1",))
    await ctx.append([b"2", b"3"])
    assert (list(ctx.journal), host.appended) == ([b"1", b"2", b"3"], [b"2", b"3"])
    await ctx.checkpoint(b"state", [b"4"])
    assert (ctx.state, list(ctx.journal)) == (b"state", [b"4"])


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (["text"], "has a str among its entries: each must be bytes"),
        ([b"x" * 16_777_216], "journal 16777217 bytes long, the limit is 16777216: write a check"),
        ([b""] * 10_000, "journal 10001 entries long, the limit is 10000: write a checkpoint now"),
    ],
)
async def test_a_journal_has_bounds(entries: list[Any], reason: str) -> None:
    host = RecordingHost()
    ctx = make_context(host, journal=(b"1",))
    with pytest.raises(ValueError, match=reason):
        await ctx.append(entries)
    assert reason in str(Park(datetime.now(UTC), None, entries=entries).fault(ctx.journal))
    assert host.appended == []


async def test_a_submit_after_an_append_is_another_one_than_before_it() -> None:
    host = RecordingHost()
    ctx = make_context(host)
    ids = [await ctx.submit("x", 1)]
    await ctx.append([b"1"])
    ids.append(await ctx.submit("x", 1))
    resumed = make_context(RecordingHost(), journal=(b"1",))
    assert await resumed.submit("x", 1) == ids[1] != ids[0]


async def test_a_child_is_submitted_once_and_its_end_read() -> None:
    host = RecordingHost()
    ctx = make_context(host)
    child = await ctx.submit("resize", {"id": 7}, key="7", child=True)
    [task] = host.submitted
    assert (task.id, task.child) == (child, True)
    assert await make_context(RecordingHost()).submit("resize", 1, key="7", child=True) == child
    retried = make_context(RecordingHost(), generation=1)
    assert await retried.submit("resize", {"id": 7}, key="7", child=True) != child
    host.ends[child] = ChildEnd("completed", b"1")
    assert await ctx.child(child) == ChildEnd("completed", b"1")
    await ctx.cancel_child(child)
    assert host.cancelled == [child]


def test_the_inbox_says_which_children_have_ended() -> None:
    ended = b'{"child":"7c0d4a1e-0000-4000-8000-000000000002","status":"failed"}'
    inbox = (b"\xff", b"1", b'{"child": 1}', ended, b'{"child":"x","status":"lost"}')
    ctx = Context("7c0d4a1e-0000-4000-8000-000000000001", "x", RecordingHost(), inbox=inbox)
    assert ctx.ended_children == ["7c0d4a1e-0000-4000-8000-000000000002"]

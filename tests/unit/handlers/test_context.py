"""What a context tells its handler, and passes on to its host."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.handlers import CancelSignal, Park
from tests.unit.handlers.stand_ins import RecordingHost, make_context


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

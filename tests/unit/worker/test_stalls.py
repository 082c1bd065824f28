"""The thread that notices that the interpreter stood still."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.handlers import Context, Resources, handler
from headrace_worker.ahead import Pace
from headrace_worker.running import Hand
from headrace_worker.stalls import Stall, StallWatch
from tests.unit.handlers.recording_host import RecordingHost
from tests.unit.worker.fake_queue import claimed_task

LEASE_SECONDS = 15.0


@handler("gil")
def gil(ctx: Context, payload: Any) -> None: ...


@handler("other")
def other(ctx: Context, payload: Any) -> None: ...


class Nights(threading.Event):
    """Sleeps that a test makes too long: (seconds too late, seconds of CPU) each."""

    def __init__(self, *nights: tuple[float, float]) -> None:
        super().__init__()
        self.nights = list(nights)
        self.now = self.cpu = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        if not self.nights:
            return True
        late, cpu = self.nights.pop(0)
        self.now += (timeout or 0.0) + late
        self.cpu += cpu
        return False


@pytest.fixture
def hand() -> Iterator[Hand]:
    with ThreadPoolExecutor(1) as pool:
        yield Hand(
            {"gil": gil, "other": other},
            Resources(threads=pool),
            log_payloads=False,
            pace=Pace(),
            ended=lambda _: None,
            changed=lambda: None,
        )


def hold(hand: Hand, task_type: str, age_seconds: float) -> None:
    running = hand.begin(claimed_task(f"{task_type}-{age_seconds:g}", task_type), RecordingHost())
    running.started_at_ms = int((time.time() - age_seconds) * 1000)


def seen(hand: Hand, *nights: tuple[float, float]) -> list[Stall]:
    ended = Nights(*nights)
    watch = StallWatch(
        hand, LEASE_SECONDS, ended, clock=lambda: ended.now, cpu_clock=lambda: ended.cpu
    )
    watch.run()
    return list(watch.waiting)


def test_it_tells_of_a_stall_from_a_third_of_the_lease_on(hand: Hand) -> None:
    assert seen(hand, (0.0, 0.5), (4.9, 6.0), (0.1, 0.0)) == []
    assert [stall.seconds for stall in seen(hand, (5.1, 6.0), (0.0, 0.0), (7.5, 8.0))] == [5.1, 7.5]


def test_it_names_the_types_of_what_ran_all_the_time(hand: Hand) -> None:
    hold(hand, "gil", 9.0)
    hold(hand, "gil", 7.4)
    hold(hand, "other", 0.2)
    [stall] = seen(hand, (7.5, 8.0))
    assert (stall.types, len(stall.tasks)) == (["gil"], 2)
    assert stall.what == "a call of type gil held the interpreter for 7.5 s"
    hold(hand, "other", 30.0)
    [stall] = seen(hand, (7.5, 8.0))
    assert stall.what == "a call of one of the types gil, other held the interpreter for 7.5 s"


def test_a_process_that_used_no_cpu_did_not_run(hand: Hand) -> None:
    hold(hand, "gil", 9.0)
    [stall] = seen(hand, (7.5, 1.1))
    assert stall.what == "its worker's process did not run for 7.5 s"


def test_with_no_task_none_is_named(hand: Hand) -> None:
    [stall] = seen(hand, (7.5, 8.0))
    assert stall.what == "a call held the interpreter for 7.5 s"

"""Rates, ages and histograms out of the numbers that Redis keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.taskqueue.stats import (
    BOUNDS_SECONDS,
    RunningTask,
    WorkerInfo,
    decode_history,
    decode_stats,
    expected_free_seconds,
    published,
    sliding_minute,
)
from headrace.taskqueue.task import utc

MINUTE_MS = 60_000
STEP_MS = 5_000
NOW = 1_760_000_040_000 + 17_000


def buckets(events_ms: list[int], now_ms: int) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """The rates of this minute and the last one, as lib/counters.lua would keep them."""
    counts: Counter[tuple[int, int]] = Counter(
        (at // MINUTE_MS, at % MINUTE_MS // STEP_MS) for at in events_ms
    )
    minute = now_ms // MINUTE_MS
    this, last = (
        {b"a%d" % bucket: b"%d" % n for (m, bucket), n in counts.items() if m == wanted}
        for wanted in (minute, minute - 1)
    )
    return this, last


moments = st.integers(0, 10 * MINUTE_MS).map(lambda ms: 1_760_000_040_000 + ms)


@given(moments, st.lists(st.integers(0, 24), max_size=50))
def test_on_the_boundaries_the_sliding_minute_is_the_exact_count(
    about_ms: int, steps_back: list[int]
) -> None:
    now = about_ms // STEP_MS * STEP_MS
    events = [now - back * STEP_MS for back in steps_back]
    # At the edge itself an event of 60 s ago still counts whole.
    exact = sum(now - MINUTE_MS <= at <= now for at in events)
    assert sliding_minute(now, *buckets(events, now), b"a") == exact


@given(moments, st.lists(st.integers(0, 130_000), max_size=50))
def test_the_sliding_minute_is_off_by_no_more_than_its_oldest_step(
    now: int, ages_ms: list[int]
) -> None:
    events = [now - age for age in ages_ms]
    surely = sum(age < MINUTE_MS - STEP_MS for age in ages_ms)
    perhaps = sum(age <= MINUTE_MS + STEP_MS for age in ages_ms)
    assert surely <= sliding_minute(now, *buckets(events, now), b"a") <= perhaps


@given(st.integers(0, STEP_MS - 1))
def test_the_oldest_step_fades_evenly(into_step: int) -> None:
    began = 1_760_000_040_000
    now = began + MINUTE_MS + into_step
    assert sliding_minute(now, *buckets([began] * 10, now), b"a") == pytest.approx(
        10 * (1 - into_step / STEP_MS)
    )


def test_a_minute_after_the_last_event_the_rate_is_zero() -> None:
    began = 1_760_000_040_000
    for later in (MINUTE_MS + STEP_MS, 2 * MINUTE_MS, 10 * MINUTE_MS):
        now = began + later
        assert sliding_minute(now, *buckets([began], now), b"a") == 0


def test_other_counters_of_the_same_bucket_do_not_count() -> None:
    assert sliding_minute(NOW, {b"a3": b"2", b"c3": b"5"}, {b"x5": b"9"}, b"a") == 2


def queue_reply(name: bytes = b"report", **changed: Any) -> list[Any]:
    values: dict[str, Any] = {
        "length": 0,
        "running": 0,
        "delayed": 0,
        "soon": 0,
        "oldest": 0,
        "retries": 0,
        "totals": [],
        "this": [],
        "last": [],
        "histogram": [],
    }
    return [name, *(values | changed).values()]


def worker_reply(
    running: list[RunningTask] | None,
    held: list[bytes],
    draining: int = 0,
    drained: int = 0,
    claimed: Sequence[list[Any]] = (),
) -> list[Any]:
    info = WorkerInfo(
        id="w1",
        host="host",
        pod="pod-1",
        pid=7,
        version="1",
        queues=["report"],
        concurrency=5,
        started_at_ms=NOW - 1000,
    )
    encoded = b"" if running is None else msgspec.json.encode(running)
    return [b"w1", msgspec.json.encode(info), encoded, NOW - 10, draining, drained, held, claimed]


def running_task(n: int, *, timed_out: bool = False) -> RunningTask:
    return RunningTask(
        id=f"task-{n}",
        type="report",
        fence=n,
        attempt=1,
        started_at_ms=NOW - n * 1000,
        timed_out=timed_out,
    )


def test_an_idle_queue_has_no_rates_that_nothing_is_known_of() -> None:
    stats = decode_stats([NOW, 1, b"epoch", [queue_reply()], [], 0])
    assert (stats.at, stats.version, stats.epoch, stats.workers) == (utc(NOW), 1, "epoch", [])
    queue = stats.queues["report"]
    assert (queue.oldest_age_seconds, queue.failure_rate, queue.service_seconds_mean) == (None,) * 3
    assert (queue.arrivals_per_minute, queue.arrivals_total) == (0, 0)
    assert stats.waiting["report"].counts == [0] * (len(BOUNDS_SECONDS) + 1)


def test_a_busy_queues_numbers() -> None:
    reply = queue_reply(
        length=5,
        running=2,
        delayed=3,
        soon=1,
        oldest=NOW - 1500,
        retries=4,
        totals=[b"arrivals", b"10", b"service_ms", b"2500", b"tombstones", b"3", b"crashes", b"1"],
        this=[b"c3", b"6", b"f3", b"2", b"r3", b"2", b"s3", b"5000", b"a3", b"7", b"x2", b"1"],
        histogram=[b"w1", b"3", b"w21", b"1", b"ws", b"4000", b"r2", b"2", b"rs", b"3"],
    )
    stats = decode_stats([NOW, 1, b"epoch", [reply], [], 0])
    queue = stats.queues["report"]
    assert (queue.queue_length, queue.running, queue.delayed, queue.due_soon) == (5, 2, 3, 1)
    assert (queue.oldest_age_seconds, queue.queue_length_retries) == (1.5, 4)
    assert (queue.arrivals_per_minute, queue.completions_per_minute) == (7, 6)
    assert (queue.failures_per_minute, queue.retries_per_minute) == (2, 2)
    assert (queue.crashes_per_minute, queue.failure_rate) == (1, 0.25)
    assert queue.service_seconds_mean == 0.5
    assert (queue.arrivals_total, queue.crashes_total) == (10, 1)
    assert queue.service_seconds_total == 2.5
    waiting, run = stats.waiting["report"], stats.run["report"]
    assert (waiting.counts[0], waiting.counts[20], sum(waiting.counts)) == (3, 1, 4)
    assert (waiting.sum_seconds, run.counts[1], run.sum_seconds) == (4.0, 2, 0.003)


def test_a_worker_shows_what_it_still_holds_and_stuck_threads() -> None:
    running = [running_task(1), running_task(2), running_task(3, timed_out=True)]
    since = [b"task-9", b"report", 1, 2, NOW - 5]
    reply = worker_reply(running, [b"task-1:1", b"task-9:1"], draining=1, claimed=[since])
    [worker] = decode_stats([NOW, 1, b"epoch", [], [reply], 0]).workers
    # task-9 was claimed after the heartbeat.
    assert [task.id for task in worker.running] == ["task-1", "task-9", "task-3"]
    assert worker.running[1] == RunningTask(
        id="task-9", type="report", fence=1, attempt=2, started_at_ms=NOW - 5
    )
    assert worker.busy_slots == 3
    assert (worker.draining, worker.drained) == (True, False)
    assert worker.oldest_started_at == utc(NOW - 3000)
    assert (worker.pod, worker.last_seen_at) == ("pod-1", utc(NOW - 10))


def test_a_worker_before_its_first_heartbeat_runs_nothing() -> None:
    [worker] = decode_stats([NOW, 1, b"epoch", [], [worker_reply(None, [])], 0]).workers
    assert (worker.running, worker.busy_slots, worker.oldest_started_at) == ([], 0, None)
    assert worker.expected_free_seconds == 0


def test_a_worker_is_expected_free_when_its_last_task_should_have_ended() -> None:
    tasks = [running_task(1), running_task(2)]
    assert expected_free_seconds(NOW, tasks, {"report": 5.0}) == 4.0
    assert expected_free_seconds(NOW, tasks, {"report": None}) is None
    assert expected_free_seconds(NOW, tasks, {}) is None
    assert expected_free_seconds(NOW, [], {}) == 0


def test_when_a_worker_with_an_overdue_task_is_free_nobody_can_tell() -> None:
    just_begun, overdue = running_task(1), running_task(600)
    assert expected_free_seconds(NOW, [just_begun, overdue], {"report": 5.0}) is None
    assert expected_free_seconds(NOW, [running_task(1, timed_out=True)], {"report": 5.0}) is None


def test_when_a_worker_is_free_of_what_it_has_just_claimed_nobody_can_tell() -> None:
    queue = queue_reply(this=[b"c0", b"1", b"s0", b"60000"])
    reply = worker_reply([running_task(1)], [b"task-1:1", b"task-9:1"])
    [worker] = decode_stats([NOW, 1, b"epoch", [queue], [reply], 0]).workers
    assert (len(worker.running), worker.busy_slots) == (1, 2)
    assert worker.expected_free_seconds is None


def test_the_history_names_its_minutes() -> None:
    minutes = [[], [b"a0", b"1", b"a11", b"2", b"c5", b"4", b"s5", b"1500"], [b"x1", b"1"]]
    history = decode_history([NOW, *minutes])
    first = NOW // MINUTE_MS * MINUTE_MS
    assert [m.minute for m in history] == [
        utc(first - 2 * MINUTE_MS + n * MINUTE_MS) for n in range(3)
    ]
    assert [m.arrivals for m in history] == [0, 3, 0]
    assert (history[1].completions, history[1].service_seconds) == (4, 1.5)
    assert (history[1].failures, history[1].retries, history[2].crashes) == (0, 0, 1)


def test_what_cannot_be_read_of_a_worker_is_told_once_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        assert published(b'{"id": "told-once"}', WorkerInfo) is None
        assert published(b'{"id": "told-\xff"}', WorkerInfo) is None
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "told-once" in messages[0]

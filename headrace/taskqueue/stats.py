"""The queue's numbers: for each queue and each worker, at one moment. Decoding is pure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from headrace.taskqueue.records import count_of, pairs
from headrace.taskqueue.task import utc

_log = logging.getLogger(__name__)

T = TypeVar("T")

SOON_MS = 30_000
"""`due_soon` counts what is due within this time."""

REGISTRATION_KEPT_SECONDS = 3600
"""A silent worker's description is kept so long; it counts as gone after two leases."""

BOUNDS_SECONDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
)
"""Upper bounds of the histograms' buckets, as in lib/counters.lua; one more has no bound."""

_STEP_MS = 5_000
_STEPS = 12
_RATES = {
    "arrivals": b"a",
    "completions": b"c",
    "failures": b"f",
    "retries": b"r",
    "crashes": b"x",
    "service_ms": b"s",
    "parked_ms": b"p",
    "stopped": b"t",
    "unreported": b"u",
}


class TypeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A task type as its workers publish it."""

    name: str
    payload_schema: dict[str, Any]
    """The payload's JSON Schema."""
    max_retries: int
    timeout_seconds: float | None
    version: str
    """Version of the package that brings it."""


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as it registers."""

    id: str
    """At most 64 bytes, unique for this process."""
    host: str
    pod: str | None
    pid: int
    version: str
    queues: list[str]
    concurrency: int
    started_at_ms: int


class RunningTask(msgspec.Struct, frozen=True, kw_only=True):
    """What one of a worker's slots is busy with."""

    id: str
    type: str
    fence: int
    attempt: int
    started_at_ms: int
    timed_out: bool = False
    """Its time-out is over and its thread still runs: the slot stays taken."""


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """One queue. Rates are counts of the last 60 s, sliding in steps of 5 s."""

    queue_length: int
    """What a worker could claim now: waiting, due, or of an expired lease; nothing cancelled."""
    running: int
    delayed: int
    due_soon: int
    """How many of the delayed are due within 30 s."""
    oldest_age_seconds: float | None
    arrivals_per_minute: float
    completions_per_minute: float
    failures_per_minute: float
    retries_per_minute: float
    crashes_per_minute: float
    failure_rate: float | None
    """Failures ÷ (completions + failures) of the last 60 s."""
    service_seconds_mean: float | None
    """Mean run time of the attempts that ended in the last 60 s, cancelled ones too. To park is not
    to end: of a run that parked the last slice counts here, and all of them in the totals."""
    queue_length_retries: int
    """How many of `queue_length` are not first attempts."""
    arrivals_total: int
    completions_total: int
    failures_total: int
    retries_total: int
    crashes_total: int
    service_seconds_total: float
    stalls_total: int = 0
    """How often a worker that ran a task of this type stood still."""


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One live worker."""

    id: str
    host: str
    pod: str | None
    pid: int
    version: str
    queues: list[str]
    concurrency: int
    started_at: datetime
    last_seen_at: datetime
    running: list[RunningTask]
    """What its last heartbeat told, without what has ended and with what was claimed since."""
    busy_slots: int
    """Leases it holds now, and threads past their time-out."""
    draining: bool
    drained: bool
    """Draining, and nothing left to wait for."""
    oldest_started_at: datetime | None
    expected_free_seconds: float | None
    """When all its slots should be free, by the mean run times; null when nobody can tell: a mean
    is not known, or a task has run for longer than its type's mean."""


class Histogram(msgspec.Struct, frozen=True):
    """Counts by bucket (bounds: BOUNDS_SECONDS, then one without bound), and the sum in seconds."""

    counts: list[int]
    sum_seconds: float


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The whole installation at one moment."""

    at: datetime
    """Redis's own time."""
    version: int
    epoch: str
    """Drawn when the queue first wrote to this Redis: another one means that its data was lost."""
    queues: dict[str, QueueStats]
    workers: list[WorkerStatus]
    waiting: dict[str, Histogram]
    run: dict[str, Histogram]
    damaged_total: int = 0
    """How many things in Redis could not be used and were set aside."""


class MinuteRates(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one minute of one queue."""

    minute: datetime
    arrivals: int
    completions: int
    failures: int
    retries: int
    crashes: int
    service_seconds: float


def sliding_minute(
    now_ms: int, this_minute: dict[bytes, bytes], last_minute: dict[bytes, bytes], field: bytes
) -> float:
    """The count over the last 60 s: the buckets since then, the oldest in proportion.

    Args:
        now_ms: the time of the reading.
        this_minute: `rates:<type>:<minute>`, its buckets 5 s wide.
        last_minute: the one before.
        field: the counter's letter.
    """
    step, into_step = divmod(now_ms % 60_000, _STEP_MS)
    total = sum(count_of(this_minute, field + b"%d" % i) for i in range(step + 1))
    total += sum(count_of(last_minute, field + b"%d" % i) for i in range(step + 1, _STEPS))
    oldest = count_of(last_minute, field + b"%d" % step)
    return total + oldest * (1 - into_step / _STEP_MS)


def decode_stats(reply: Sequence[Any]) -> Stats:
    """The reply of scripts/stats.lua."""
    now_ms, version, epoch, raw_queues, raw_workers, damaged = reply
    queues, waiting, run = {}, {}, {}
    for raw in raw_queues:
        name = raw[0].decode()
        queues[name] = _queue(now_ms, raw)
        histogram = pairs(raw[10])
        waiting[name] = _histogram(histogram, b"w")
        run[name] = _histogram(histogram, b"r")
    means = {name: queue.service_seconds_mean for name, queue in queues.items()}
    return Stats(
        at=utc(now_ms),
        version=version,
        epoch=epoch.decode(),
        queues=queues,
        workers=[
            worker for raw in raw_workers if (worker := _worker(now_ms, raw, means)) is not None
        ],
        waiting=waiting,
        run=run,
        damaged_total=damaged,
    )


def decode_history(reply: Sequence[Any]) -> list[MinuteRates]:
    """The reply of scripts/history.lua, the oldest minute first."""
    now_ms, *minutes = reply
    first = now_ms // 60_000 - len(minutes) + 1
    history = []
    for n, flat in enumerate(minutes):
        buckets = pairs(flat)
        sums = {
            name: sum(count_of(buckets, field + b"%d" % i) for i in range(_STEPS))
            for name, field in _RATES.items()
        }
        service_seconds = (sums.pop("service_ms") + sums.pop("parked_ms")) / 1000
        for name in ("stopped", "unreported"):
            del sums[name]
        history.append(
            MinuteRates(minute=utc((first + n) * 60_000), service_seconds=service_seconds, **sums)
        )
    return history


def _queue(now_ms: int, raw: Sequence[Any]) -> QueueStats:
    _, length, running, delayed, due_soon, oldest_since, retries = raw[:7]
    totals, this_minute, last_minute = pairs(raw[7]), pairs(raw[8]), pairs(raw[9])
    rate = {
        name: sliding_minute(now_ms, this_minute, last_minute, field)
        for name, field in _RATES.items()
    }
    ended = rate["completions"] + rate["failures"]
    attempts = round(ended + rate["retries"] + rate["stopped"] - rate["unreported"], 6)

    def total(name: str) -> int:
        return count_of(totals, name.encode())

    return QueueStats(
        queue_length=length,
        running=running,
        delayed=delayed,
        due_soon=due_soon,
        oldest_age_seconds=(now_ms - oldest_since) / 1000 if oldest_since else None,
        arrivals_per_minute=round(rate["arrivals"], 3),
        completions_per_minute=round(rate["completions"], 3),
        failures_per_minute=round(rate["failures"], 3),
        retries_per_minute=round(rate["retries"], 3),
        crashes_per_minute=round(rate["crashes"], 3),
        failure_rate=round(rate["failures"] / ended, 6) if ended else None,
        service_seconds_mean=round(rate["service_ms"] / attempts / 1000, 6) if attempts else None,
        queue_length_retries=retries,
        arrivals_total=total("arrivals"),
        completions_total=total("completions"),
        failures_total=total("failures"),
        retries_total=total("retries"),
        crashes_total=total("crashes"),
        service_seconds_total=(total("service_ms") + total("parked_ms")) / 1000,
        stalls_total=total("stalls"),
    )


def published(raw: bytes, kind: type[T]) -> T | None:
    """What a worker has published, decoded; None for what cannot be read, which is logged once.

    Another version may write it otherwise. That must not take the rest away.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _tell_unreadable(raw[:100], str(error))
        return None


@lru_cache(maxsize=256)
def _tell_unreadable(raw: bytes, error: str) -> None:
    """Cached, so that each is logged once: the stats are read every second."""
    _log.warning("what a worker has published cannot be read and is left out: %s: %r", error, raw)


def _worker(now_ms: int, raw: Sequence[Any], means: dict[str, float | None]) -> WorkerStatus | None:
    _, raw_info, raw_running, seen_ms, draining, drained, held, claimed = raw
    info = published(raw_info, WorkerInfo)
    if info is None:
        return None
    reported = published(raw_running or b"[]", list[RunningTask]) or []
    timed_out = [task for task in reported if task.timed_out]
    holds = {f"{task.id}:{task.fence}".encode(): task for task in _claimed(claimed)}
    holds |= {f"{task.id}:{task.fence}".encode(): task for task in reported}
    running = [*(holds[member] for member in held if member in holds), *timed_out]
    busy_slots = len(held) + len(timed_out)
    started = [task.started_at_ms for task in running]
    return WorkerStatus(
        id=info.id,
        host=info.host,
        pod=info.pod,
        pid=info.pid,
        version=info.version,
        queues=info.queues,
        concurrency=info.concurrency,
        started_at=utc(info.started_at_ms),
        last_seen_at=utc(seen_ms),
        running=running,
        busy_slots=busy_slots,
        draining=bool(draining),
        drained=bool(drained),
        oldest_started_at=utc(min(started)) if started else None,
        # What it has claimed since its last heartbeat is not in `running`: nobody can tell of it.
        expected_free_seconds=expected_free_seconds(now_ms, running, means)
        if len(running) == busy_slots
        else None,
    )


def _claimed(rows: Sequence[Any]) -> list[RunningTask]:
    return [
        RunningTask(
            id=task_id.decode(),
            type=task_type.decode(),
            fence=fence,
            attempt=attempt,
            started_at_ms=started_at_ms,
        )
        for task_id, task_type, fence, attempt, started_at_ms in rows
    ]


def expected_free_seconds(
    now_ms: int, running: Sequence[RunningTask], means: dict[str, float | None]
) -> float | None:
    """When the last of a worker's tasks should have ended, each taking its type's mean run time.

    Returns None when nobody can tell: a mean is not known, or a task is overdue. One that has run
    for longer than the mean says no more than that it is a long one, and may go on for hours.
    """
    longest = 0.0
    for task in running:
        mean = means.get(task.type)
        left = -1.0 if mean is None else mean - (now_ms - task.started_at_ms) / 1000
        if left < 0 or task.timed_out:
            return None
        longest = max(longest, left)
    return round(longest, 3)


def _histogram(fields: dict[bytes, bytes], kind: bytes) -> Histogram:
    buckets = range(1, len(BOUNDS_SECONDS) + 2)
    return Histogram(
        [count_of(fields, kind + b"%d" % bucket) for bucket in buckets],
        count_of(fields, kind + b"s") / 1000,
    )

"""The worker's log lines about tasks: each with id, type, attempt and duration.

Payloads and results are written only when `payloads` is set: they may hold secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.logs import get_logger
from headrace.taskqueue import (
    ClaimedTask,
    Completed,
    Failed,
    Parked,
    Released,
    Settlement,
    TaskStatus,
    utc,
)

log = get_logger("headrace_worker")

_NOTHING: dict[str, Any] = {}


def claimed(task: ClaimedTask, *, payloads: bool) -> None:
    """A task was taken. `duration_ms`: how old it was when it first began."""
    more = {"payload": task.payload.decode(errors="replace")} if payloads else _NOTHING
    log.info(
        "task.dequeued",
        task_id=task.id,
        type=task.type,
        attempt=task.attempt,
        duration_ms=task.started_at_ms - task.created_at_ms,
        **more,
    )


def settled(
    task: ClaimedTask,
    settlement: Settlement,
    status: TaskStatus,
    *,
    exception: BaseException | None,
    payloads: bool,
) -> None:
    """The queue has accepted how an attempt ended. `duration_ms`: how long it ran."""
    if type(settlement) is Completed and not payloads:  # the common case
        log.info(
            "task.state",
            task_id=task.id,
            type=task.type,
            attempt=task.attempt,
            duration_ms=settlement.run_ms,
            status=status,
        )
        return
    about: dict[str, Any] = {
        "task_id": task.id,
        "type": task.type,
        "attempt": task.attempt,
        "duration_ms": settlement.run_ms,
        "status": status,
    }
    if isinstance(settlement, Failed) and status is TaskStatus.PENDING:
        delay = settlement.retry_delay_ms
        log.warning(
            "task.retry", **about, error=settlement.error, retry_in_ms=delay, exc_info=exception
        )
    elif isinstance(settlement, Failed) and status is TaskStatus.FAILED:
        log.error("task.failed", **about, error=settlement.error, exc_info=exception)
    elif isinstance(settlement, Released) and status is TaskStatus.FAILED:
        why = "it was handed back too often, each time soon after its start"
        log.error("task.failed", **about, error=f"{why}: it seems to stop its workers")
    elif isinstance(settlement, Parked) and settlement.unpark_at_ms is not None:
        at = utc(settlement.unpark_at_ms).isoformat(timespec="milliseconds")
        log.info("task.state", **about, unpark_at=at.replace("+00:00", "Z"))
    elif payloads and isinstance(settlement, Completed):
        log.info("task.state", **about, result=settlement.result.decode())
    else:
        log.info("task.state", **about)


def lost(task: ClaimedTask, age_ms: int) -> None:
    """The lease is gone, and what the attempt brings is dropped."""
    why = "its lease was lost: another attempt has taken it over, or it was ended"
    _warn("task.lost", task, age_ms, why)


def still_running(task: ClaimedTask, age_ms: int) -> None:
    """The attempt was ended and reported, and its code runs on."""
    why = "its code ignores the request to stop: the slot stays taken until it ends"
    _warn("task.still_running", task, age_ms, why)


def unreadable_headers(task: ClaimedTask, error: Exception) -> None:
    """Its headers were changed in Redis; it runs without them."""
    _warn("task.headers_unreadable", task, 0, f"its headers cannot be read: {error}")


def unreported(worker: str, ended: Sequence[tuple[ClaimedTask, str]], why: str) -> None:
    """The worker ends without having told how these tasks ended."""
    log.error(
        "worker.unreported",
        worker=worker,
        reason=f"{why}: these tasks will run again",
        tasks=[{"task_id": task.id, "type": task.type, "ended": how} for task, how in ended],
    )


def _warn(event: str, task: ClaimedTask, age_ms: int, reason: str) -> None:
    log.warning(
        event,
        task_id=task.id,
        type=task.type,
        attempt=task.attempt,
        duration_ms=age_ms,
        reason=reason,
    )

"""Why a task waits: from facts in Redis to a code and a sentence. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from headrace.status import WhyCode as WhyCode
from headrace.taskqueue.records import NEVER, pairs
from headrace.taskqueue.stats import Stats, WorkerStatus
from headrace.taskqueue.task import FINAL, TaskStatus, utc


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task waits."""

    status: TaskStatus
    code: WhyCode
    text: str
    """The same in words, and what to do."""
    position: int | None = None
    """Its place among the waiting tasks of its type, from 1; None: it is in no list."""
    position_is_exact: bool = True
    """False: it is behind the 10,000th, and the position is an estimate."""
    until: datetime | None = None
    """When it goes on by itself."""
    live_workers: int = 0
    """How many live workers serve its type."""
    last_worker: str | None = None
    """Who served its type last, as far as that is kept, if no worker does now."""
    last_worker_at: datetime | None = None
    """When that worker was last seen to."""


def explain(reply: list[Any], stats: Stats) -> Why:
    """Why a task waits, by what the script `why` says and what is known of the workers."""
    now, status_text, type_text, *flat = reply
    facts = pairs(flat)
    status, task_type = TaskStatus(status_text.decode()), type_text.decode()
    serving = [worker for worker in stats.workers if task_type in worker.queues]
    if status is TaskStatus.RUNNING or status in FINAL:
        return _not_waiting(status, facts)
    if status is TaskStatus.PENDING:
        why = _pending(int(now), facts)
        if why is not None:
            return msgspec.structs.replace(why, live_workers=len(serving))
    return _waiting(status, task_type, facts, serving)


def _not_waiting(status: TaskStatus, facts: dict[bytes, bytes]) -> Why:
    worker = facts.get(b"worker", b"").decode()
    since = utc(int(facts[b"since"])) if b"since" in facts else None
    at = f" since {_text(since)}" if since else ""
    if status is TaskStatus.RUNNING:
        text = f"It does not wait: it runs{at} on worker {worker}."
        return Why(status=status, code=WhyCode.RUNNING, text=text)
    return Why(status=status, code=WhyCode.ENDED, text=f"It does not wait: it is {status}{at}.")


def _pending(now: int, facts: dict[bytes, bytes]) -> Why | None:
    """Why a pending task waits; None: its time has come, and the next claim finds it."""
    due = facts.get(b"due", NEVER)
    until = None if due == NEVER else utc(int(due))
    if until is not None and int(due) <= now:
        return None
    code, text = WhyCode.STARTS_AT, "Its start time has not come"
    if b"parked" in facts and b"child" in facts and b"inbox" in facts:
        code, text = WhyCode.WAITS_FOR_CHILD, "It waits for a child of its own to end"
    elif b"inbox" in facts:
        code, text = WhyCode.PARKED, "It is parked until an item comes into its inbox"
    elif b"parked" in facts:
        code, text = WhyCode.PARKED, "It is parked, and goes on by itself"
    elif b"back_off" in facts:
        code, text = WhyCode.BACK_OFF, "Its last attempt failed, and the next one comes later"
    at = f": {_text(until)} at the latest" if until and b"inbox" in facts else ""
    at = at or (f": {_text(until)}" if until else "")
    advice = ". Run it now, if it is not to wait." if code is not WhyCode.WAITS_FOR_CHILD else "."
    return Why(status=TaskStatus.PENDING, code=code, text=text + at + advice, until=until)


def _waiting(
    status: TaskStatus, task_type: str, facts: dict[bytes, bytes], serving: list[WorkerStatus]
) -> Why:
    """Why a task waits that a worker could claim."""
    place = int(facts[b"place"]) if b"place" in facts else None
    exact = b"estimated" not in facts
    before = "" if not place else f" {'' if exact else 'About '}{place} tasks come before it."
    able = [worker for worker in serving if not worker.draining]
    slots = sum(worker.concurrency for worker in able)
    busy = sum(min(worker.busy_slots, worker.concurrency) for worker in able)
    last, at = _last_worker(facts)
    if not serving:
        who = f" {last} did last, at {_text(at)}." if last and at else ""
        left = facts.get(b"left", b"").decode().partition(":")[2]
        code = WhyCode.SCALED_TO_ZERO if left and left == last else WhyCode.NO_WORKER
        cause = "" if code is WhyCode.NO_WORKER else " It ended as it was told to."
        text = (
            f"No live worker serves the type {task_type}.{who}{cause} Start one with this type "
            "among its queues, or let the autoscaler do so."
        )
    elif not able:
        code = WhyCode.DRAINING
        text = f"All {len(serving)} workers of the type {task_type} drain: start another one."
    elif busy >= slots:
        code = WhyCode.SLOTS_FULL
        text = f"All {slots} slots of the {len(able)} workers of the type {task_type} are taken."
    else:
        code = WhyCode.NEXT
        text = f"{slots - busy} slots of the type {task_type} are free: a worker takes it soon."
    return Why(
        status=status,
        code=code,
        text=text + before,
        position=None if place is None else place + 1,
        position_is_exact=exact,
        live_workers=len(serving),
        last_worker=None if serving else last,
        last_worker_at=None if serving else at,
    )


def _last_worker(facts: dict[bytes, bytes]) -> tuple[str | None, datetime | None]:
    """The worker that was last seen to serve the type: it said goodbye, or ended a task."""
    seen = []
    if b"left" in facts:
        when, _, worker = facts[b"left"].decode().partition(":")
        seen.append((int(when), worker))
    if b"last_worker" in facts:
        seen.append((int(facts[b"last_end"]), facts[b"last_worker"].decode()))
    if not seen:
        return None, None
    when_ms, last = max(seen)
    return last, utc(when_ms)


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")

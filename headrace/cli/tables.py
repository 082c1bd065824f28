"""The tables for people. Pure: what they show is given, also the time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from headrace.cli.text import printable

if TYPE_CHECKING:
    from headrace.cli.findings import Finding
    from headrace.contract import (
        AttemptReply,
        BulkReply,
        StatsReply,
        TaskDetail,
        TaskReply,
        TaskSummary,
        WhyReply,
        WorkerReply,
        WorkflowDetail,
        WorkflowsReply,
    )

STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "running": "cyan",
    "pending": "yellow",
    "queued": "",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
}

MAX_NOTE = 120
"""Letters of a note in a list; `show` has all of it."""


def cell(value: Any, style: str = "") -> Text:
    """A value as a text that cannot change how the table looks."""
    return Text(printable("" if value is None else str(value)), style=style)


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, right: str = "") -> Table:
    """A table without lines. `right`: the columns of numbers, by their heads."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    numbers = right.split()
    for head in heads:
        drawn.add_column(
            head,
            justify="right" if head in numbers else "left",
            no_wrap=True,
            overflow="ignore" if head in ("TASK", "ID") else "ellipsis",
        )
    for row in rows:
        drawn.add_row(*(it if isinstance(it, Text) else cell(it) for it in row))
    return drawn


def pairs(rows: Iterable[tuple[str, Any]]) -> Table:
    """A name and a value a line; without those that have none."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in rows:
        if value not in (None, "", (), [], {}):
            drawn.add_row(name, value if isinstance(value, Text) else cell(value))
    return drawn


def status(text: str) -> Text:
    """A state in its colour."""
    return cell(text, STYLES.get(text, ""))


def span(seconds: float) -> str:
    """A duration in its largest unit: 12s, 5m, 3h, 2d."""
    seconds = max(seconds, 0.0)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago."""
    return "" if moment is None else f"{span((now - moment).total_seconds())} ago"


def exact(moment: datetime | None) -> str:
    """A time in UTC, to the millisecond."""
    if moment is None:
        return ""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def now() -> datetime:
    """The time that ages are counted from."""
    return datetime.now(UTC)


def tasks(rows: Sequence[TaskSummary | TaskReply], now: datetime) -> Table:
    """A list of tasks."""
    return table(
        ("TASK", "TYPE", "STATUS", "SUBMITTED", "ENDED", "ATTEMPT", "TAGS", "NOTE"),
        (
            (
                task.task_id,
                task.type,
                status(task.status),
                age(task.created_at, now),
                age(task.completed_at, now),
                task.attempt,
                " ".join(task.tags),
                note(task, now),
            )
            for task in rows
        ),
        right="ATTEMPT",
    )


def note(task: TaskSummary | TaskReply, now: datetime) -> str:
    """What is most of interest about a task in its state."""
    if task.status in ("failed", "cancelled"):
        text = task.error or ""
    elif task.status == "pending" and task.due_at is not None:
        text = f"in {span((task.due_at - now).total_seconds())}"
        text += f", after: {task.error}" if task.error else ""
    elif task.status == "running" and task.progress is not None:
        text = f"{task.progress.percent:.0f} % {task.progress.message or ''}".rstrip()
    elif task.status == "queued" and task.live_workers == 0:
        text = "no worker serves its type"
    else:
        text = ""
    text = " ".join(text.split())
    return text if len(text) <= MAX_NOTE else text[: MAX_NOTE - 1] + "…"


def task(record: TaskDetail | TaskReply) -> Group:
    """All about one task."""
    progress = record.progress
    extra = record.model_extra or {}
    facts = pairs(
        [
            ("task", record.task_id),
            ("type", record.type),
            ("status", status(record.status)),
            ("submitted", exact(record.created_at)),
            ("started", exact(record.started_at)),
            ("ended", exact(record.completed_at)),
            ("due", exact(record.due_at)),
            ("attempt", f"{record.attempt}, {record.retry_count} of {record.max_retries} retries"),
            ("crashes", record.crash_count or None),
            ("progress", progress and f"{progress.percent:g} % {progress.message or ''}".rstrip()),
            ("worker", record.worker),
            ("workers now", record.live_workers),
            ("cancel asked", "yes" if record.cancel_requested else None),
            ("tags", " ".join(record.tags)),
            ("headers", ", ".join(f"{name}={it}" for name, it in record.headers.items())),
            *((name.replace("_", " "), _json(value)) for name, value in extra.items()),
            ("error", record.error),
            ("result", None if record.result is None else _json(record.result)),
            ("hidden", ", ".join(record.hidden)),
        ]
    )
    attempts = getattr(record, "attempts", None)
    return Group(facts, Text(), _attempts(attempts)) if attempts else Group(facts)


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _attempts(attempts: Sequence[AttemptReply]) -> Table:
    return table(
        ("ATTEMPT", "OUTCOME", "WORKER", "STARTED", "TOOK", "ERROR"),
        (
            (
                it.number,
                it.outcome,
                it.worker,
                exact(it.started_at),
                f"{(it.ended_at - it.started_at).total_seconds():.3f} s",
                " ".join((it.error or "").split()),
            )
            for it in attempts
        ),
        right="ATTEMPT TOOK",
    )


def why(reply: WhyReply) -> Group:
    """Why a task waits."""
    position = None
    if reply.position is not None:
        position = f"{'' if reply.position_is_exact else 'about '}{reply.position}"
    seen = f", {exact(reply.last_worker_at)}" if reply.last_worker_at else ""
    return Group(
        cell(reply.text),
        Text(),
        pairs(
            [
                ("task", reply.task_id),
                ("status", status(reply.status)),
                ("code", reply.code),
                ("position", position),
                ("until", exact(reply.until)),
                ("workers now", reply.live_workers),
                ("last worker", reply.last_worker and f"{reply.last_worker}{seen}"),
            ]
        ),
    )


def preview(sentence: str, samples: Sequence[TaskSummary]) -> Group:
    """What a bulk operation would do."""
    if not samples:
        return Group(cell(sentence))
    return Group(cell(f"{sentence}; some of them:"), tasks(samples, now()))


def bulks(rows: Sequence[BulkReply], at: datetime) -> Table:
    """A list of bulk operations."""
    return table(
        ("ID", "ACTION", "STATUS", "STARTED", "TOTAL", "DONE", "FAILED", "BY", "NAME"),
        (
            (
                it.bulk_id,
                it.action,
                status(it.status),
                age(it.created_at, at),
                it.total,
                it.done,
                it.failed,
                it.by,
                it.name,
            )
            for it in rows
        ),
        right="TOTAL DONE FAILED",
    )


def bulk(it: BulkReply) -> Table:
    """A bulk operation, and the first tasks that were refused."""
    failures = getattr(it, "failures", ())
    return pairs(
        [
            ("bulk", it.bulk_id),
            ("name", it.name),
            ("action", it.action),
            ("where", " ".join(f"{name}={value}" for name, value in it.filter.items())),
            ("status", status(it.status)),
            ("started", exact(it.created_at)),
            ("ended", exact(it.ended_at)),
            ("by", it.by),
            ("progress", f"{it.done} of {it.total} done, {it.failed} failed"),
            ("reasons", ", ".join(f"{name}: {number}" for name, number in it.reasons.items())),
            ("failures", "\n".join(f"{each.task_id} {each.reason}" for each in failures)),
        ]
    )


def queues(reply: StatsReply) -> Table:
    """The queues' numbers."""
    return table(
        (
            "QUEUE",
            "WAITING",
            "RUNNING",
            "DELAYED",
            "OLDEST",
            "IN/MIN",
            "DONE/MIN",
            "FAILED/MIN",
            "WORKERS",
        ),
        (
            (
                name,
                it.queue_length,
                it.running,
                it.delayed,
                "" if it.oldest_age_seconds is None else span(it.oldest_age_seconds),
                f"{it.arrivals_per_minute:g}",
                f"{it.completions_per_minute:g}",
                f"{it.failures_per_minute:g}",
                sum(name in worker.queues and not worker.draining for worker in reply.workers),
            )
            for name, it in reply.queues.items()
        ),
        right="WAITING RUNNING DELAYED OLDEST IN/MIN DONE/MIN FAILED/MIN WORKERS",
    )


def workers(rows: Sequence[WorkerReply], at: datetime) -> Table:
    """The live workers."""
    return table(
        ("WORKER", "VERSION", "STATE", "SLOTS", "STARTED", "QUEUES"),
        (
            (
                it.id,
                it.version,
                ("drained" if it.drained else "draining") if it.draining else "works",
                f"{it.busy_slots}/{it.concurrency}",
                age(it.started_at, at),
                ", ".join(it.queues),
            )
            for it in rows
        ),
        right="SLOTS",
    )


def stats(reply: StatsReply) -> Group:
    """The queues and the workers at one moment."""
    return Group(queues(reply), Text(), workers(reply.workers, reply.at))


def workflows(reply: WorkflowsReply) -> Group:
    """The workflows, and the files that cannot be used."""
    found = table(
        ("WORKFLOW", "VERSION", "TITLE"),
        ((it.workflow_id, it.version, it.title) for it in reply.workflows),
    )
    errors = [
        cell(f"{it.file}:{it.line or 1}: {it.reason}", STYLES["failed"]) for it in reply.errors
    ]
    return Group(found, *([Text(), *errors] if errors else []))


def workflow(reply: WorkflowDetail) -> Group:
    """A workflow and its definition."""
    facts = pairs(
        [
            ("workflow", reply.workflow_id),
            ("version", reply.version),
            ("title", reply.title),
            ("sha256", reply.sha256),
            ("versions", " ".join(reply.versions)),
        ]
    )
    return Group(facts, Text(), cell(reply.definition.rstrip()))


def findings(rows: Sequence[Finding]) -> Table:
    """What `doctor` has found; a fix stands under its line."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    for it in rows:
        drawn.add_row(status(it.status), cell(it.check), cell(it.text))
        if it.fix:
            drawn.add_row("", "", cell(f"fix: {it.fix}"))
    return drawn

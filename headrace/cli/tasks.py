"""`headrace submit`, `execute`, `wait`, `ls`, `dead`, `show`, `why`: submit tasks, look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.exits import Exit, complain, fail
from headrace.cli.options import (
    CreatedAfter,
    CreatedBefore,
    EndedAfter,
    EndedBefore,
    ErrorFilter,
    IdArgument,
    OutputOption,
    ProfileOption,
    QFilter,
    StatusFilter,
    TagFilter,
    TypeFilter,
    WorkerFilter,
    document,
    filters_of,
    moment,
    pairs,
    seconds,
)
from headrace.cli.session import connected

if TYPE_CHECKING:
    from headrace.client.handles import TaskHandle
    from headrace.client.submissions import SubmitOptions
    from headrace.contract import TaskReply

KeyOption = Annotated[
    str | None, typer.Option("--key", help="The same key again makes no second task.")
]
StartInOption = Annotated[
    str | None, typer.Option("--start-in", metavar="TIME", help="Not before: 30s, 10m, 2h, 7d.")
]
StartAtOption = Annotated[
    str | None, typer.Option("--start-at", metavar="TIME", help="Not before 2026-12-01T08:00:00Z.")
]
RetriesOption = Annotated[
    int | None, typer.Option("--max-retries", min=0, help="Default: those of the task type.")
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="What it can be found by; may be repeated.")
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME=VALUE", help="For the handler; may be repeated."),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")]
TimeoutOption = Annotated[
    str | None,
    typer.Option("--timeout", metavar="TIME", help="Wait no longer than this: 30s, 10m, 2h."),
]


def submit(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type.")],
    payload: Annotated[
        str,
        typer.Argument(metavar="JSON|@FILE|-", help="The payload; @FILE: of a file, -: of stdin."),
    ] = "null",
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    key: KeyOption = None,
    start_in: StartInOption = None,
    start_at: StartAtOption = None,
    max_retries: RetriesOption = None,
    tag: TagOption = None,
    header: HeaderOption = None,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Submit a task, and show its record.

    With --wait, the status is 0 if it completed, 7 if it failed, 8 if it was cancelled, and 9 if it
    has not ended before the timeout; then it goes on.
    """
    content = document(payload, "the payload")
    options = _options(key, start_in, start_at, max_retries, tag, header)
    with connected(profile, waiting=wait) as client:
        _follow(client.submit(task_type, content, **options), wait, timeout, output)


def execute(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A workflow's id.")],
    var: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A variable: JSON if VALUE is JSON, else a text. May be repeated.",
        ),
    ] = None,
    variables: Annotated[
        str, typer.Option("--vars", metavar="JSON|@FILE|-", help="All variables as an object.")
    ] = "{}",
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    key: KeyOption = None,
    start_in: StartInOption = None,
    start_at: StartAtOption = None,
    max_retries: RetriesOption = None,
    tag: TagOption = None,
    header: HeaderOption = None,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Execute a workflow, and show its task's record. The statuses are those of `submit`."""
    values = document(variables, "--vars")
    if not isinstance(values, dict):
        fail(Exit.USAGE, "--vars is no object", """write it as in --vars '{"name": "Ada"}'""")
    values |= {name: _value(text) for name, text in pairs(var or (), "--var")}
    options = _options(key, start_in, start_at, max_retries, tag, header)
    with connected(profile, waiting=wait) as client:
        _follow(client.execute(workflow, values, **options), wait, timeout, output)


def wait(
    task_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Tasks' ids.")],
    timeout: TimeoutOption = None,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Wait until tasks have ended, and show their records.

    The status is 0 if all completed; else 7 if any failed, or 8 if any was cancelled; 9 if some
    have not ended before the timeout. Nothing is cancelled.
    """
    limit = None if timeout is None else seconds(timeout, "--timeout")
    with connected(profile, waiting=True) as client:
        handles = [client.handle(task_id) for task_id in dict.fromkeys(task_ids)]
        if len(handles) == 1:
            _ended(handles[0], limit, output)
            return
        ended = {it.id: it.wait() for it in client.as_completed(handles, limit)}
        show_records([ended[it.id] for it in handles], output)
        for record in ended.values():
            _complain(record)
        statuses = {record.status for record in ended.values()}
        if "failed" in statuses:
            raise typer.Exit(Exit.FAILED)
        if "cancelled" in statuses:
            raise typer.Exit(Exit.CANCELLED)


def ls(
    type: TypeFilter = None,
    status: StatusFilter = None,
    ended_after: EndedAfter = None,
    ended_before: EndedBefore = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    tag: TagFilter = None,
    q: QFilter = None,
    error: ErrorFilter = None,
    worker: WorkerFilter = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Tasks on a page.")] = 50,
    cursor: Annotated[
        str | None, typer.Option(help="`next_cursor` of the page before this one.")
    ] = None,
    all_pages: Annotated[
        bool, typer.Option("--all", help="All pages, one after the other; not with -o json.")
    ] = False,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """List the tasks that fit all filters: what runs, what waits, what has ended (newest first)."""
    _list(filters_of(locals()), limit, cursor, all_pages, output, profile)


def dead(
    type: TypeFilter = None,
    ended_after: EndedAfter = None,
    ended_before: EndedBefore = None,
    tag: TagFilter = None,
    error: ErrorFilter = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Tasks on a page.")] = 50,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """List the tasks that failed for good, the newest first: `headrace ls --status failed`."""
    _list(filters_of({**locals(), "status": "failed"}), limit, None, False, output, profile)


def show(
    task_id: IdArgument, output: OutputOption = "table", profile: ProfileOption = None
) -> None:
    """Show all about a task: its state, its result, and its attempts unless the first succeeded."""
    with connected(profile) as client:
        show_records([client.handle(task_id).get(include=["attempts"])], output)


def why(task_id: IdArgument, output: OutputOption = "table", profile: ProfileOption = None) -> None:
    """Say why a task waits, and what to do."""
    from headrace.cli.output import emit

    with connected(profile) as client:
        reply = client.handle(task_id).why()

    def drawn(_: object) -> Any:
        from headrace.cli import tables

        return tables.why(reply)

    emit(reply, output, table=drawn, id_of=lambda it: it.task_id)


def _options(
    key: str | None,
    start_in: str | None,
    start_at: str | None,
    max_retries: int | None,
    tags: list[str] | None,
    headers: list[str] | None,
) -> SubmitOptions:
    return {
        "key": key,
        "start_in": None if start_in is None else seconds(start_in, "--start-in"),
        "start_at": None if start_at is None else moment(start_at, f"--start-at {start_at}"),
        "max_retries": max_retries,
        "tags": tags or [],
        "headers": dict(pairs(headers or (), "--header")),
    }


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _follow(handle: TaskHandle[Any], wait: bool, timeout: str | None, output: str) -> None:
    if wait:
        _ended(handle, None if timeout is None else seconds(timeout, "--timeout"), output)
    else:
        show_records([handle.get()], output)


def _ended(handle: TaskHandle[Any], timeout: float | None, output: Any) -> None:
    """Wait for a task, show its record, and end with the status for how it ended."""
    show_records([handle.wait(timeout)], output)
    handle.result()  # raises what becomes the exit status


def _complain(record: TaskReply) -> None:
    if record.status == "failed":
        complain(f"task {record.task_id} ({record.type}) failed: {record.error}")
    elif record.status == "cancelled":
        complain(f"task {record.task_id} ({record.type}) was cancelled")


def show_records(records: list[Any], output: Any) -> None:
    """Write tasks' records; a single one in full."""
    from headrace.cli.output import emit, emit_rows

    def drawn(rows: Any) -> Any:
        from headrace.cli import tables

        return tables.task(rows[0]) if len(rows) == 1 else tables.tasks(rows, tables.now())

    if len(records) == 1:
        emit(records[0], output, table=lambda it: drawn([it]), id_of=lambda it: it.task_id)
    else:
        emit_rows(records, output, table=drawn, id_of=lambda it: it.task_id)


def _list(
    filters: Any, limit: int, cursor: str | None, all_pages: bool, output: Any, profile: str | None
) -> None:
    from headrace.cli.output import emit_page

    if all_pages and output == "json":
        fail(Exit.USAGE, "--all has no one reply of the API to show: take -o jsonl")

    def drawn(rows: Any) -> Any:
        from headrace.cli import tables

        return tables.tasks(rows, tables.now())

    with connected(profile) as client:
        while True:
            page = client.tasks.list(cursor=cursor, limit=limit, **filters)
            emit_page(page, page.items, output, table=drawn, id_of=lambda it: it.task_id)
            cursor = page.next_cursor
            if cursor is None or not all_pages:
                break
    if cursor is not None and output == "table":
        found = "" if page.complete else f"looked through {page.scanned} tasks; "
        typer.echo(f"{found}more: --cursor {cursor}, or --all", err=True)

"""`headrace cancel`, `retry`, `run-now`, `rm`: for tasks by their ids, or for all that fit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.exits import Exit, fail, report
from headrace.cli.options import (
    DryRunOption,
    IdsArgument,
    Output,
    OutputOption,
    ProfileOption,
    WhereOption,
    YesOption,
)
from headrace.cli.options import (
    where as filters_in,
)
from headrace.cli.session import connected

if TYPE_CHECKING:
    from headrace.client.asks import BulkAction, TaskFilters
    from headrace.client.handles import TaskHandle
    from headrace.client.sync_client import Client
    from headrace.contract import BulkDryRun

NameOption = Annotated[
    str, typer.Option("--name", help="With --where: the name of the bulk operation.")
]

WORDS = {
    "cancel": "cancelled",
    "retry": "queued again",
    "run-now": "queued before their time",
    "delete": "removed",
}


def cancel(
    task_ids: IdsArgument = None,
    running: Annotated[
        bool, typer.Option("--running", help="Also ask the handler of a running task to stop.")
    ] = False,
    where: WhereOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    name: NameOption = "",
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Cancel tasks that have not begun; with --running, also ask running ones to stop."""
    if running and where:
        fail(Exit.USAGE, "--running goes with ids: many tasks are cancelled before they begin")
    chosen = _Chosen("cancel", task_ids, where, dry_run, yes, name)
    _act(chosen, lambda it: it.cancel(running=running), output, profile)


def retry(
    task_ids: IdsArgument = None,
    where: WhereOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    name: NameOption = "",
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Queue failed or cancelled tasks again, their retries counted from 0."""
    chosen = _Chosen("retry", task_ids, where, dry_run, yes, name)
    _act(chosen, lambda it: it.retry(), output, profile)


def run_now(
    task_ids: IdsArgument = None,
    where: WhereOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    name: NameOption = "",
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Queue pending tasks before their time."""
    chosen = _Chosen("run-now", task_ids, where, dry_run, yes, name)
    _act(chosen, lambda it: it.run_now(), output, profile)


def rm(
    task_ids: IdsArgument = None,
    where: WhereOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    name: NameOption = "",
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Remove tasks that have ended, and all that is kept of them."""
    chosen = _Chosen("delete", task_ids, where, dry_run, yes, name)
    _act(chosen, lambda it: it.delete(), output, profile)


class _Chosen:
    """Which tasks are meant, and whether to ask before."""

    def __init__(
        self,
        action: BulkAction,
        task_ids: list[str] | None,
        where: list[str] | None,
        dry_run: bool,
        yes: bool,
        name: str,
    ) -> None:
        if bool(task_ids) == bool(where):
            fail(Exit.USAGE, "say which tasks: by their ids, or by --where NAME=VALUE")
        if dry_run and not where:
            fail(Exit.USAGE, "--dry-run goes with --where: it counts the tasks that fit")
        self.action = action
        self.task_ids = list(dict.fromkeys(task_ids or ()))
        self.filters: TaskFilters = filters_in(where or ())
        self.dry_run = dry_run
        self.yes = yes
        self.name = name


def _act(
    chosen: _Chosen, act: Callable[[TaskHandle[Any]], object], output: Output, profile: str | None
) -> None:
    with connected(profile) as client:
        if chosen.task_ids:
            _each(client, chosen, act, output)
        else:
            _all(client, chosen, output)


def _each(
    client: Client, chosen: _Chosen, act: Callable[[TaskHandle[Any]], object], output: Output
) -> None:
    """Act on each; what is refused stops no other. The status is that of the first refusal."""
    from headrace.cli.output import write
    from headrace.cli.tasks import show_records
    from headrace.client.errors import HeadraceError

    first: Exit | None = None
    records: list[Any] = []
    for task_id in chosen.task_ids:
        handle = client.handle(task_id)
        try:
            act(handle)
            if chosen.action != "delete":
                records.append(handle.get())
            elif output in ("table", "id"):
                write(f"removed {task_id}" if output == "table" else task_id)
        except HeadraceError as error:
            status = report(error)
            first = first or status
    if records:
        show_records(records, output)
    if first is not None:
        raise typer.Exit(first)


def _all(client: Client, chosen: _Chosen, output: Output) -> None:
    """Start a bulk operation, after a look at what it would do."""
    from headrace.cli.bulk import show_bulk
    from headrace.cli.output import draw, emit_page

    found = client.bulk.dry_run(chosen.action, **chosen.filters)
    if chosen.dry_run:
        emit_page(
            found,
            found.samples,
            output,
            table=lambda _: _preview(found, chosen.action),
            id_of=lambda it: it.task_id,
        )
        return
    if not chosen.yes:
        if output != "table" or not _is_terminal():
            fail(
                Exit.USAGE,
                f"{_count(found)} would be {WORDS[chosen.action]}, and nobody can be asked",
                "add --yes to do it, or --dry-run to only count",
            )
        draw(_preview(found, chosen.action))
        if not typer.confirm("Do it?"):
            fail(Exit.ERROR, "nothing was done")
    bulk = client.bulk.start(chosen.action, name=chosen.name, **chosen.filters)
    show_bulk(bulk, output)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _count(found: BulkDryRun) -> str:
    number = f"{found.count} task{'' if found.count == 1 else 's'}"
    return number if found.complete else f"at least {number}"


def _preview(found: BulkDryRun, action: str) -> Any:
    from headrace.cli import tables

    sentence = f"{_count(found)} would be {WORDS[action]}"
    return tables.preview(sentence, found.samples)

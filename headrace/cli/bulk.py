"""`headrace bulk`: one action for many tasks, which `--where` starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.options import Output, OutputOption, ProfileOption
from headrace.cli.session import connected

if TYPE_CHECKING:
    from headrace.contract import BulkReply

BulkId = Annotated[str, typer.Argument(metavar="ID", help="A bulk operation's id.")]


def ls(
    limit: Annotated[int, typer.Option(min=1, max=200, help="The newest so many.")] = 50,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """List the bulk operations, the newest first."""
    from headrace.cli.output import emit_page

    with connected(profile) as client:
        page = client.bulk.page(limit=limit)

    def drawn(rows: Any) -> Any:
        from headrace.cli import tables

        return tables.bulks(rows, tables.now())

    emit_page(page, page.bulk, output, table=drawn, id_of=lambda it: it.bulk_id)


def show(bulk_id: BulkId, output: OutputOption = "table", profile: ProfileOption = None) -> None:
    """Show how far a bulk operation is, and what was refused."""
    with connected(profile) as client:
        show_bulk(client.bulk.get(bulk_id), output)


def stop(bulk_id: BulkId, output: OutputOption = "table", profile: ProfileOption = None) -> None:
    """Stop a bulk operation. What it has done stays done."""
    with connected(profile) as client:
        show_bulk(client.bulk.stop(bulk_id), output)


def resume(bulk_id: BulkId, output: OutputOption = "table", profile: ProfileOption = None) -> None:
    """Let a bulk operation go on where it was stopped."""
    with connected(profile) as client:
        show_bulk(client.bulk.resume(bulk_id), output)


def show_bulk(bulk: BulkReply, output: Output) -> None:
    """Write a bulk operation."""
    from headrace.cli.output import emit

    def drawn(reply: BulkReply) -> Any:
        from headrace.cli import tables

        return tables.bulk(reply)

    emit(bulk, output, table=drawn, id_of=lambda it: it.bulk_id)

"""`headrace stats`, `queues`, `workers`, `workflow ls`, `workflow show`: what there is."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.options import Output, OutputOption, ProfileOption
from headrace.cli.session import connected

if TYPE_CHECKING:
    from headrace.contract import StatsReply

WATCH_SECONDS = 1.0

WorkerId = Annotated[str, typer.Argument(metavar="WORKER", help="A worker's id.")]


def stats(
    watch: Annotated[
        bool, typer.Option("--watch", help="Again each second, until Ctrl-C.")
    ] = False,
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Show the queues and the workers at this moment."""
    with connected(profile, waiting=watch) as client:
        try:
            while True:
                _show_stats(client.queues.stats(), output, watch=watch)
                if not watch:
                    break
                sleep(WATCH_SECONDS)
        except KeyboardInterrupt:
            return


def _show_stats(reply: StatsReply, output: Output, *, watch: bool) -> None:
    from headrace.cli.output import clear, emit_json, emit_rows

    if output == "json" and not watch:
        emit_json(reply)
        return
    if output == "table":
        if watch:
            clear()

        def drawn(_: object) -> Any:
            from headrace.cli import tables

            return tables.stats(reply)

        emit_rows([reply], output, table=drawn, id_of=lambda _: "")
    elif output == "id":
        from headrace.cli.output import write_lines

        write_lines(reply.queues)
    else:
        emit_rows([reply], "jsonl", table=lambda _: "", id_of=lambda _: "")


def queues(output: OutputOption = "table", profile: ProfileOption = None) -> None:
    """Show each queue: what waits, what runs, how fast it goes. A queue is a task type's."""
    from headrace.cli.output import draw, emit_json, emit_lines, write_lines

    with connected(profile) as client:
        reply = client.queues.stats()
    if output == "json":
        emit_json(reply)
    elif output == "jsonl":
        emit_lines({"type": name, **_fields(it)} for name, it in reply.queues.items())
    elif output == "id":
        write_lines(reply.queues)
    else:
        from headrace.cli import tables

        draw(tables.queues(reply))


def _fields(reply: Any) -> dict[str, Any]:
    fields: dict[str, Any] = reply.model_dump(mode="json", exclude_unset=True)
    return fields


def workers(
    context: typer.Context, output: OutputOption = "table", profile: ProfileOption = None
) -> None:
    """List the live workers and what each runs; `drain` and `undrain` one of them."""
    from headrace.cli.output import emit_page

    if context.invoked_subcommand is not None:
        return
    with connected(profile) as client:
        page = client.workers.page()

    def drawn(rows: Any) -> Any:
        from headrace.cli import tables

        return tables.workers(rows, tables.now())

    emit_page(page, page.workers, output, table=drawn, id_of=lambda it: it.id)


def drain(
    worker_id: WorkerId, output: OutputOption = "table", profile: ProfileOption = None
) -> None:
    """Let a worker claim no more tasks for 60 s; it finishes what it runs."""
    with connected(profile) as client:
        _show_mark(client.workers.drain(worker_id), output)


def undrain(
    worker_id: WorkerId, output: OutputOption = "table", profile: ProfileOption = None
) -> None:
    """Let a worker claim tasks again."""
    with connected(profile) as client:
        _show_mark(client.workers.undrain(worker_id), output)


def _show_mark(reply: Any, output: Output) -> None:
    from headrace.cli.output import emit

    def drawn(_: object) -> Any:
        from headrace.cli import tables

        return tables.pairs([("worker", reply.id), ("draining", "yes" if reply.draining else "no")])

    emit(reply, output, table=drawn, id_of=lambda it: it.id)


def workflow_ls(output: OutputOption = "table", profile: ProfileOption = None) -> None:
    """List the workflows that the API can execute, and the files that it cannot use."""
    from headrace.cli.output import emit_page

    with connected(profile) as client:
        page = client.workflows.list()

    def drawn(_: object) -> Any:
        from headrace.cli import tables

        return tables.workflows(page)

    emit_page(page, page.workflows, output, table=drawn, id_of=lambda it: it.workflow_id)


def workflow_show(
    workflow_id: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A workflow's id.")],
    output: OutputOption = "table",
    profile: ProfileOption = None,
) -> None:
    """Show a workflow and its definition."""
    from headrace.cli.output import emit

    with connected(profile) as client:
        reply = client.workflows.get(workflow_id)

    def drawn(_: object) -> Any:
        from headrace.cli import tables

        return tables.workflow(reply)

    emit(reply, output, table=drawn, id_of=lambda it: it.workflow_id)

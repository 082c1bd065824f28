"""Writes what the API answered: as a table for people, or as JSON, lines or ids for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from headrace.cli.options import Output
    from headrace.contract import Reply

R = TypeVar("R", bound="Reply")

PIPE_WIDTH = 10_000
"""Wider than any table: what a program reads is never cut."""


def emit_page(
    reply: Reply,
    rows: Sequence[R],
    output: Output,
    *,
    table: Callable[[Sequence[R]], RenderableType],
    id_of: Callable[[R], str],
) -> None:
    """Write a reply that holds rows: `json` is the reply, `jsonl` and `id` a line a row."""
    if output == "json":
        emit_json(reply)
    else:
        emit_rows(rows, output, table=table, id_of=id_of)


def emit_rows(
    rows: Sequence[R],
    output: Output,
    *,
    table: Callable[[Sequence[R]], RenderableType],
    id_of: Callable[[R], str],
) -> None:
    """Write rows that no one reply holds: `json` is a list of them."""
    if output == "json":
        write("[" + ",\n".join(as_json(row, indent=2) for row in rows) + "]")
    elif output == "jsonl":
        write_lines(as_json(row) for row in rows)
    elif output == "id":
        write_lines(id_of(row) for row in rows)
    else:
        draw(table(rows))


def emit(
    reply: R, output: Output, *, table: Callable[[R], RenderableType], id_of: Callable[[R], str]
) -> None:
    """Write one reply."""
    if output == "json":
        emit_json(reply)
    else:
        emit_rows([reply], output, table=lambda rows: table(rows[0]), id_of=id_of)


def emit_json(reply: Reply) -> None:
    """Write a reply as the API sent it."""
    write(as_json(reply, indent=2))


def as_json(reply: Reply, indent: int | None = None) -> str:
    """A reply with the fields that were sent, those that this client does not know among them."""
    return reply.model_dump_json(exclude_unset=True, indent=indent)


def write_lines(lines: Iterable[str]) -> None:
    """Write a line each."""
    for line in lines:
        write(line)


def write(text: str) -> None:
    """Write a text to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def console() -> Console:
    """What draws tables: in colour on a terminal alone, and not with NO_COLOR."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    plain = not terminal or bool(os.environ.get("NO_COLOR"))
    return Console(
        file=sys.stdout if terminal else StringIO(),
        force_terminal=terminal,
        color_system=None if plain else "auto",
        width=None if terminal else PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def draw(drawn: RenderableType) -> None:
    """Draw a table. In a pipe it has its full width and no spaces at the ends of lines."""
    out = console()
    out.print(drawn, soft_wrap=isinstance(drawn, str))
    if isinstance(out.file, StringIO):
        for line in out.file.getvalue().splitlines():
            write(line.rstrip())


def emit_lines(rows: Iterable[dict[str, Any]]) -> None:
    """Write a line of JSON each."""
    write_lines(json.dumps(row, ensure_ascii=False) for row in rows)


def clear() -> None:
    """Clear the screen before a table is drawn again; a pipe gets one table after the other."""
    if sys.stdout.isatty():
        write("\x1b[2J\x1b[H")

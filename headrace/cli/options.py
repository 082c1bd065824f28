"""The options and arguments that several commands have, and how their texts are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headrace.cli.exits import Exit, fail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from headrace.client.asks import TaskFilters

Output = Literal["table", "json", "jsonl", "id"]

OutputOption = Annotated[
    Output,
    typer.Option(
        "--output",
        "-o",
        help="table: for people. json: as the API answers. jsonl: a line each. id: ids alone.",
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="A profile of ~/.config/headrace/config.toml. Without it: HEADRACE_URL and "
        "HEADRACE_API_KEY, then HEADRACE_PROFILE, then the profile `default`.",
    ),
]
IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Tasks' ids.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A task's id.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help="All tasks that fit; may be repeated. The names are those of the filters of "
        "`headrace ls`, as in type=hello, error=Timeout, ended_after=2h.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="With --where: count the tasks, and do nothing.")
]

TypeFilter = Annotated[str | None, typer.Option("--type", help="A task type.")]
StatusFilter = Annotated[
    Literal["pending", "queued", "running", "completed", "failed", "cancelled"] | None,
    typer.Option("--status", help="A state."),
]
MOMENT = "a time as 2026-12-01T08:00:00Z, or how long ago: 30s, 10m, 2h, 7d"
EndedAfter = Annotated[str | None, typer.Option(metavar="TIME", help=f"Has ended since: {MOMENT}.")]
EndedBefore = Annotated[str | None, typer.Option(metavar="TIME", help="Has ended before.")]
CreatedAfter = Annotated[str | None, typer.Option(metavar="TIME", help="Submitted since.")]
CreatedBefore = Annotated[str | None, typer.Option(metavar="TIME", help="Submitted before.")]
TagFilter = Annotated[str | None, typer.Option("--tag", help="One of its tags.")]
QFilter = Annotated[str | None, typer.Option("--q", help="A text in the payload's JSON.")]
ErrorFilter = Annotated[str | None, typer.Option("--error", help="A text in the last error.")]
WorkerFilter = Annotated[str | None, typer.Option("--worker", help="What this worker runs.")]

FILTERS = (
    "type",
    "status",
    "ended_after",
    "ended_before",
    "created_after",
    "created_before",
    "tag",
    "q",
    "error",
    "worker",
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def filters_of(given: Mapping[str, Any]) -> TaskFilters:
    """The filters among options, as the client takes them. Ends for a time that is none."""
    found: dict[str, Any] = {name: given[name] for name in FILTERS if given.get(name) is not None}
    for name in found:
        if name.endswith(("_after", "_before")):
            found[name] = moment(found[name], f"{name}={found[name]}", ago=True)
    filters: TaskFilters = found  # type: ignore[assignment]
    return filters


def where(texts: Sequence[str]) -> TaskFilters:
    """The filters of `--where NAME=VALUE`. Ends for a name that is none."""
    found: dict[str, str] = {}
    for name, value in pairs(texts, "--where"):
        name = name.replace("-", "_")
        if name not in FILTERS:
            fail(Exit.USAGE, f"--where {name}={value}: {name} is no filter", _names())
        if name in found:
            fail(Exit.USAGE, f"--where {name} is there twice: give each filter once")
        found[name] = value
    return filters_of(found)


def _names() -> str:
    return f"the filters are {', '.join(FILTERS)}"


def pairs(texts: Sequence[str], option: str) -> Iterator[tuple[str, str]]:
    """NAME=VALUE each. Ends for a text without a name."""
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            fail(Exit.USAGE, f"{option} {text} has no NAME=: write it as in {option} name=value")
        yield name, value


def seconds(text: str, option: str) -> float:
    """A duration: 90, 30s, 10m, 2h, 7d. Ends for what is none."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)", text)
    if found is None:
        fail(Exit.USAGE, f"{option} {text} is no duration: write it as in 90, 30s, 10m, 2h or 7d")
    return float(found[1]) * _UNITS[found[2] or "s"]


def moment(text: str, option: str, *, ago: bool = False) -> datetime:
    """A time of ISO 8601 with its zone; with `ago` also a duration. Ends for what is none."""
    from datetime import UTC, datetime, timedelta

    if ago and re.fullmatch(r"[0-9.]+[smhd]", text):
        return datetime.now(UTC) - timedelta(seconds=seconds(text, option))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        kinds = MOMENT if ago else MOMENT.partition(",")[0]
        fail(Exit.USAGE, f"{option} is no time: write {kinds}")
    if found.tzinfo is None:
        fail(Exit.USAGE, f"{option} has no time zone: add one, as in {text}Z or {text}+08:00")
    return found


def document(text: str, name: str) -> Any:
    """JSON that was typed, of a file (`@file`) or of stdin (`-`). Ends for what is none."""
    import json
    import sys
    from pathlib import Path

    source = "stdin" if text == "-" else text[1:] if text.startswith("@") else name
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"{source} cannot be read: {error}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        advice = """write it as in '{"name": "Ada"}', or take @file or - for stdin"""
        fail(Exit.USAGE, f"{source} is no JSON: {error}", advice)

"""The moves' Lua scripts: a file each in `scripts/`, the parts they share in `scripts/lib/`.

A script's first line names the parts it needs: `--- include common, counters`. The part `clock`
stands before them in every script.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from headrace.taskqueue.redis.connection import Script

_FOLDER = files(__package__) / "scripts"
_INCLUDE = re.compile(r"--- include ([a-z_, ]+)\n")

NAMES = tuple(
    sorted(
        file.name.removesuffix(".lua") for file in _FOLDER.iterdir() if file.name.endswith(".lua")
    )
)
"""All scripts, by name."""

CLOCK = (_FOLDER / "lib" / "clock.lua").read_text("utf-8")
"""The part that says what time it is."""

_clock = CLOCK


@cache
def script(name: str) -> Script:
    """The script of a move, its parts put in front of it."""
    text = (_FOLDER / f"{name}.lua").read_text("utf-8")
    first_line = _INCLUDE.match(text)
    if first_line is None:
        raise ValueError(f"scripts/{name}.lua must begin with '--- include …'")
    parts = [part.strip() for part in first_line[1].split(",")]
    shared = [_clock, *((_FOLDER / "lib" / f"{part}.lua").read_text("utf-8") for part in parts)]
    return Script("\n".join([*shared, text[first_line.end() :]]).encode())


def all_scripts() -> list[Script]:
    """Every script, to be loaded when a connection opens."""
    return [script(name) for name in NAMES]


def use_clock(text: str) -> None:
    """Put another part in place of `CLOCK`, for connections made from now on: for tests."""
    global _clock
    _clock = text
    script.cache_clear()

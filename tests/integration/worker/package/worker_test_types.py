# ruff: noqa: INP001 - a module at the top of a folder that stands in for site-packages
"""Task types for tests that start workers as processes: an installed package, by PYTHONPATH."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from headrace import Context, handler


@handler("nap", timeout_seconds=60.0)
async def nap(ctx: Context, seconds: float) -> dict[str, Any]:
    """Sleep, as an async handler does."""
    await asyncio.sleep(seconds)
    return {"attempt": ctx.attempt}


@handler("stubborn", timeout_seconds=0.2, max_retries=0)
def stubborn(ctx: Context, seconds: float) -> None:
    """Sleep in a thread, deaf to its time-out."""
    time.sleep(seconds)


@handler("gil", max_retries=0)
def gil(ctx: Context, seconds: float) -> int:
    """One call that holds the interpreter for so long, on an idle CPU."""
    began = time.process_time()
    sum(itertools.repeat(1, 10_000_000))
    a_second = 10_000_000 / (time.process_time() - began)
    return sum(itertools.repeat(1, int(seconds * a_second)))

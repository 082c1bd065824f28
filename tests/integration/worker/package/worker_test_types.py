# ruff: noqa: INP001 - a module at the top of a folder that stands in for site-packages
"""Task types for tests that start workers as processes: an installed package, by PYTHONPATH."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import Any

from headrace import Context, Fatal, Park, handler


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


@handler("act")
async def act(ctx: Context, steps: list[str]) -> dict[str, Any] | Park:
    """Take the steps, one after the other; an attempt begins where the last one left its state."""
    for at in range(int(ctx.state or b"0"), len(steps)):
        after_this = b"%d" % (at + 1)
        match steps[at].split(" "):
            case ["sleep", seconds]:
                await asyncio.sleep(float(seconds))
            case ["checkpoint", "and", "sleep", seconds]:
                await ctx.checkpoint(after_this)
                await asyncio.sleep(float(seconds))
            case ["park", seconds]:
                return Park(datetime.now(UTC) + timedelta(seconds=float(seconds)), after_this)
            case ["fail", "once"] if ctx.attempt == 1:
                raise ConnectionError("refused")
            case ["give", "up"]:
                raise Fatal("it cannot be done")
    return {"steps": len(steps)}


if "run_in" in signature(handler).parameters:  # 0.2.0 runs no handlers in processes

    @handler("crunch", run_in="process", timeout_seconds=None, max_retries=1)
    def crunch(ctx: Context, seconds: float) -> int:
        """Compute in one call, for about so long by the clock, in a process of its own."""
        ctx.progress(1, str(os.getpid()))
        time.sleep(0.3)  # until that is sent
        if seconds < 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        began = time.monotonic()
        sum(itertools.repeat(1, 20_000_000))
        a_second = 20_000_000 / (time.monotonic() - began)
        sum(itertools.repeat(1, int(seconds * a_second)))
        return ctx.attempt

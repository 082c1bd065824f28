# ruff: noqa: INP001 - a module at the top of a folder that stands in for site-packages
"""Task types for the chaos tests, an installed package by PYTHONPATH. Each run leaves a trace.

A run writes a line when it begins and one when it ends, to a file of its process in the folder
RUNS_DIR, by one write each: what was written outlives a SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from headrace import Context, handler


class Work(BaseModel):
    """How long a run takes."""

    seconds: float = 0.0
    again_seconds: float | None = None
    """From the second attempt on; None: as long as the first."""

    def lasts(self, ctx: Context) -> float:
        """How long this attempt takes."""
        if ctx.attempt > 1 and self.again_seconds is not None:
            return self.again_seconds
        return self.seconds


@handler("work", timeout_seconds=600)
async def work(ctx: Context, payload: Work) -> dict[str, str]:
    """Sleep, as an async handler does."""
    _trace(ctx, "begin")
    await asyncio.sleep(payload.lasts(ctx))
    _trace(ctx, "end")
    return {"done": ctx.task_id}


@handler("work_sync", timeout_seconds=600)
def work_sync(ctx: Context, payload: Work) -> dict[str, str]:
    """Sleep in a thread."""
    _trace(ctx, "begin")
    time.sleep(payload.lasts(ctx))
    _trace(ctx, "end")
    return {"done": ctx.task_id}


@handler("block", timeout_seconds=600)
async def block(ctx: Context, payload: Work) -> None:
    """Block the event loop, which no handler should."""
    _trace(ctx, "begin")
    time.sleep(payload.seconds)  # noqa: ASYNC251 - the mistake under test
    _trace(ctx, "end")


def _trace(ctx: Context, event: str) -> None:
    line = {"at": time.time(), "pid": os.getpid(), "event": event}
    line |= {"id": ctx.task_id, "attempt": ctx.attempt}
    os.write(_file(), json.dumps(line).encode() + b"\n")


@cache
def _file() -> int:
    path = Path(os.environ["RUNS_DIR"], f"{os.getpid()}.jsonl")
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

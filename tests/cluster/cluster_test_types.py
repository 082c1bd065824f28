"""A task type for the tests, an installed package by PYTHONPATH: it takes as long as it is told.

Each run keeps, under its task, how often it was begun: so one that was ended unfinished, by a
SIGKILL or a drain that was too short, is counted whoever began it again.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from headrace import Context, handler


class Nap(BaseModel):
    """How long."""

    seconds: float


@handler("nap", timeout_seconds=600)
async def nap(ctx: Context, payload: Nap) -> dict[str, int]:
    """Sleep, and tell how often that was begun."""
    begun = int(ctx.state or b"0") + 1
    await ctx.checkpoint(str(begun).encode())
    await asyncio.sleep(payload.seconds)
    return {"begun": begun}

"""Task types for the tests, an installed package by PYTHONPATH.

A `nap` takes as long as it is told. Each run keeps, under its task, how often it was begun: so one
that was ended unfinished, by a SIGKILL or a drain that was too short, is counted whoever began it
again. A `stumble` fails once, and is retried after some time.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from headrace import Backoff, Context, handler


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


class Stumble(BaseModel):
    """Nothing to say."""


@handler("stumble", backoff=Backoff(base_seconds=75, cap_seconds=75))
async def stumble(ctx: Context, payload: Stumble) -> dict[str, int]:
    """Fail at the first attempt. The next one is due after 0 to 75 s."""
    if ctx.attempt == 1:
        raise RuntimeError("stumbled")
    return {"attempt": ctx.attempt}


class Thumbnail(BaseModel):
    """Of what, and how long it takes."""

    url: str
    seconds: float


@handler("thumbnail_create", timeout_seconds=600)
async def thumbnail_create(ctx: Context, payload: Thumbnail) -> dict[str, str | int]:
    """Take so long, and tell how often it was begun."""
    begun = int(ctx.state or b"0") + 1
    await ctx.checkpoint(str(begun).encode())
    await asyncio.sleep(payload.seconds)
    return {"url": payload.url, "begun": begun}

"""The task types that the benchmark's workers run. They do nothing."""

from __future__ import annotations

import time

from pydantic import BaseModel

from headrace import Context, handler


class Order(BaseModel):
    """A payload as applications have them: 50 bytes of JSON."""

    number: int
    customer: str
    express: bool = False


@handler("bench_noop")
async def noop(ctx: Context, payload: Order) -> int:
    """Return a part of the payload: what is left is the queue's own cost."""
    return payload.number


@handler("bench_clock")
async def clock(ctx: Context, payload: Order) -> int:
    """Tell when it began, in nanoseconds since 1970."""
    return time.time_ns()

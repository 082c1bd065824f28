"""Middleware: what packages put around every attempt, and its types.

    async def timed(ctx: Context, call_next: CallNext) -> Handled:
        began = time.monotonic()
        try:
            return await call_next()
        finally:
            ctx.log.info("timed", seconds=time.monotonic() - began)

`call_next()` brings what the handler returned, as a `Returned` or a `Park`, and raises what it
raised; a stop (time-out, cancel, end of the worker) is a CancelledError with `ctx.cancelled` set.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headrace.handlers.context import Context
from headrace.handlers.outcomes import Park, Returned

Handled = Returned | Park
"""How an attempt ended whose handler returned."""

CallNext = Callable[[], Awaitable[Handled]]
"""Runs the next middleware, and after the last one the handler."""

Middleware = Callable[[Context, CallNext], Awaitable[Handled]]
"""Awaited for every attempt. An error that it raises is the attempt's error."""

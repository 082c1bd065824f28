"""Middleware: keeps in the database how long each attempt took, and how it ended."""

from __future__ import annotations

import time

from headrace import CallNext, Context, Handled
from invoices.database import database


async def measured(ctx: Context, call_next: CallNext) -> Handled:
    """Around every attempt: the entry point `headrace.middleware`."""
    began, outcome = time.monotonic(), "stopped"
    try:
        handled = await call_next()
        outcome = type(handled).__name__.lower()
        return handled
    except Exception as error:
        outcome = type(error).__name__
        raise
    finally:
        await ctx.value(database).execute(
            "INSERT INTO attempts VALUES (?, ?, ?)",
            ctx.task_type,
            outcome,
            time.monotonic() - began,
        )

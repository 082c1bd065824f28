"""What a handler's context asks of its worker."""

from __future__ import annotations

import asyncio
import tracemalloc
from types import SimpleNamespace
from typing import Any

from headrace_worker.host import PROGRESS_INTERVAL_SECONDS, WorkerHost


class Running:
    """An attempt under way."""

    outcome = None

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx


async def test_progress_in_a_tight_loop_takes_constant_memory() -> None:
    ctx: Any = object()
    hand: Any = SimpleNamespace(slots=[Running(ctx)], held=set())
    nothing: Any = None
    host = WorkerHost(nothing, hand, nothing, [], {})
    tracemalloc.start()
    try:
        for n in range(50_000):
            host.progress(ctx, n % 100, "working")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await asyncio.sleep(PROGRESS_INTERVAL_SECONDS * 1.5)  # until the reporting has ended
    assert peak < 100_000

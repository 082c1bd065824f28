"""What the attempts of a process share."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from headrace.handlers.context import Lifespan
from headrace.handlers.deadlines import Deadlines
from headrace.handlers.lifespans import Lifespans
from headrace.handlers.middleware import Middleware
from headrace.handlers.processes import ProcessPool
from headrace.limits import DEFAULT_MAX_PAYLOAD_BYTES


class Resources:
    """Threads, child processes, middleware, lifespans. Nothing is started before it is needed.

    Args:
        threads: run plain `def` handlers; by default a pool of Python's usual size.
        max_result_bytes: larger results are failures.
        middleware: around every attempt, the outermost first.
        lifespans: entered by `open`, left by `close`.
    """

    __slots__ = ("deadlines", "lifespans", "max_result_bytes", "middleware", "processes", "threads")

    def __init__(
        self,
        *,
        threads: Executor | None = None,
        max_result_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        middleware: Sequence[Middleware] = (),
        lifespans: Sequence[Lifespan[Any]] = (),
    ) -> None:
        self.threads = threads or ThreadPoolExecutor(thread_name_prefix="headrace-handler")
        self.max_result_bytes = max_result_bytes
        self.middleware = tuple(middleware)
        self.lifespans = Lifespans(lifespans)
        self.deadlines = Deadlines()
        self.processes = ProcessPool()

    async def open(self) -> None:
        """Enter the lifespans. A second time changes nothing. Raises LifespanFailed."""
        await self.lifespans.open()

    async def close(self) -> None:
        """End the child processes, leave the lifespans, let go of the threads."""
        await self.processes.close()
        await self.lifespans.close()
        self.threads.shutdown(wait=False, cancel_futures=True)

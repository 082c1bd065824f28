"""What a process opens before its first attempt and closes after its last.

    @asynccontextmanager
    async def database() -> AsyncIterator[Pool]:
        async with create_pool(url) as pool:
            yield pool

Handlers get the value by `ctx.value(database)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from headrace.handlers.context import Lifespan
from headrace.handlers.errors import LifespanFailed
from headrace.handlers.failures import describe
from headrace.handlers.loops import own_task
from headrace.logs import get_logger

EXIT_SECONDS = 10.0
"""How long all lifespans together may take to close."""

log = get_logger(__name__)


class Lifespans:
    """Enters lifespans in order, and leaves them in the opposite one.

    One task does both: what is entered in a task (an asyncio.TaskGroup, say) must be left there.
    """

    def __init__(self, lifespans: Sequence[Lifespan[Any]] = ()) -> None:
        self.values: dict[Lifespan[Any], Any] = {}
        """What each has yielded. Filled by `open`, the same object from the start."""
        self._lifespans = lifespans
        self._opened: asyncio.Future[None] | None = None
        self._closing = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Enter all of them, if that has not been done.

        Raises:
            LifespanFailed: one of them raised an error. What was entered before it is left.
        """
        if not self._lifespans:
            return
        if self._opened is None:
            loop = asyncio.get_running_loop()
            self._opened = loop.create_future()
            self._keeping = own_task(loop, self._keep(self._opened))
        await asyncio.shield(self._opened)

    async def close(self) -> None:
        """Leave all of them. Errors are logged; what takes longer than EXIT_SECONDS is left."""
        if self._keeping is None:
            return
        self._closing.set()
        if self._opened is not None and not self._opened.done():
            self._keeping.cancel()  # whatever it waits for, nobody needs it any more
        _, late = await asyncio.wait([self._keeping], timeout=EXIT_SECONDS)
        if late:
            log.error("lifespan.late", reason=f"it did not close within {EXIT_SECONDS:g} s")

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        failure = None
        try:
            async with AsyncExitStack() as stack:
                failure = await self._enter(stack)
                if failure is None:
                    opened.set_result(None)
                    await self._closing.wait()
        except BaseException as error:
            log.error("lifespan.failed_to_close", exc_info=error)
        finally:
            self.values.clear()
            if failure is not None:
                self._opened = None  # the next `open` tries again
                opened.set_exception(failure)
                opened.exception()  # whoever waited for it may have left

    async def _enter(self, stack: AsyncExitStack) -> LifespanFailed | None:
        """Enter all. A failure is returned: raised, it would be an error within those before it."""
        for lifespan in self._lifespans:
            try:
                self.values[lifespan] = await stack.enter_async_context(lifespan())
            except BaseException as error:
                name = f"{lifespan.__module__}.{getattr(lifespan, '__qualname__', lifespan)}"
                failure = LifespanFailed(
                    f"the lifespan {name} failed as it was entered: {describe(error)}"
                )
                failure.__cause__ = error
                return failure
        return None

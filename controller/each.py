"""Calls for many things, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Thing = TypeVar("Thing")


async def each(
    things: Iterable[Thing], call: Callable[[Thing], Awaitable[object]], *, at_once: int
) -> None:
    """Call for each. After a failure none begins any more; raises the first one.

    Not before all that had begun have ended: what is done next meets none of them.
    """
    waiting = iter(things)
    errors: list[Exception] = []

    async def work() -> None:
        for thing in waiting:
            if errors:
                return
            try:
                await call(thing)
            except Exception as error:
                errors.append(error)

    await asyncio.gather(*(work() for _ in range(at_once)))
    if errors:
        raise errors[0]

"""Many deadlines share one timer: each is kept, and dropped ones strike no more."""

from __future__ import annotations

import asyncio

from headrace.handlers.deadlines import Deadlines


class Timed:
    """Notes when it times out, in a list that it shares with others."""

    def __init__(self, name: str, struck: list[str]) -> None:
        self._name = name
        self._struck = struck

    def time_out(self) -> None:
        self._struck.append(self._name)


def timers() -> int:
    """How many timers of the event loop are set."""
    loop = asyncio.get_running_loop()
    return len([timer for timer in getattr(loop, "_scheduled", []) if not timer.cancelled()])


async def test_each_strikes_once_in_the_order_of_the_deadlines() -> None:
    loop, struck, deadlines = asyncio.get_running_loop(), list[str](), Deadlines()
    now = loop.time()
    for name, seconds in (("third", 0.06), ("first", 0.02), ("second", 0.04)):
        deadlines.set(loop, Timed(name, struck), now + seconds)
    await asyncio.sleep(0.15)
    assert struck == ["first", "second", "third"]
    assert timers() == 0


async def test_none_strikes_early() -> None:
    loop, struck, deadlines = asyncio.get_running_loop(), asyncio.Event(), Deadlines()

    class Setter:
        def time_out(self) -> None:
            struck.set()

    began = loop.time()
    deadlines.set(loop, Setter(), began + 0.05)
    await asyncio.wait_for(struck.wait(), 10)
    assert loop.time() - began >= 0.048


async def test_a_dropped_one_strikes_no_more_and_the_others_do() -> None:
    loop, struck, deadlines = asyncio.get_running_loop(), list[str](), Deadlines()
    dropped, kept = Timed("dropped", struck), Timed("kept", struck)
    deadlines.set(loop, dropped, loop.time() + 0.01)
    deadlines.set(loop, kept, loop.time() + 0.03)
    deadlines.drop(dropped)
    await asyncio.sleep(0.1)
    assert struck == ["kept"]


async def test_all_share_one_timer_and_the_last_one_dropped_takes_it_away() -> None:
    loop, deadlines = asyncio.get_running_loop(), Deadlines()
    many = [Timed(str(n), []) for n in range(100)]
    for timed in many:
        deadlines.set(loop, timed, loop.time() + 3600)
    assert timers() == 1
    for timed in many:
        deadlines.drop(timed)
    assert timers() == 0


async def test_one_may_drop_another_and_set_a_new_one_while_it_strikes() -> None:
    loop, struck, deadlines = asyncio.get_running_loop(), list[str](), Deadlines()
    other, late = Timed("other", struck), Timed("late", struck)

    class Meddler(Timed):
        def time_out(self) -> None:
            super().time_out()
            deadlines.drop(other)
            deadlines.set(loop, late, loop.time() + 0.02)

    deadlines.set(loop, Meddler("meddler", struck), loop.time() + 0.01)
    deadlines.set(loop, other, loop.time() + 0.01)
    await asyncio.sleep(0.1)
    assert struck == ["meddler", "late"]

"""Lifespans: entered before the first attempt, left after the last, in one task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headrace.handlers import LifespanFailed
from headrace.handlers import lifespans as module
from headrace.handlers.lifespans import Lifespans


class Book:
    """Lifespans that write down what happens to them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failing = ""

    def lifespan(self, name: str) -> Any:
        @asynccontextmanager
        async def span() -> AsyncIterator[str]:
            self.lines.append(f"enter {name}")
            if name == self.failing:
                raise ConnectionError("nobody listens")
            async with asyncio.TaskGroup():  # must be left by the task that entered it
                yield name
            self.lines.append(f"leave {name}")

        return span


async def test_they_are_entered_in_order_and_left_in_the_opposite_one() -> None:
    book = Book()
    a, b = book.lifespan("a"), book.lifespan("b")
    lifespans = Lifespans([a, b])
    values = lifespans.values
    await lifespans.open()
    await lifespans.open()
    assert values == {a: "a", b: "b"}
    await asyncio.create_task(lifespans.close())  # from another task
    assert book.lines == ["enter a", "enter b", "leave b", "leave a"]


async def test_one_that_fails_is_named_and_those_before_it_are_left() -> None:
    book = Book()
    book.failing = "b"
    lifespans = Lifespans([book.lifespan("a"), book.lifespan("b")])
    with pytest.raises(
        LifespanFailed, match=r"span failed as it was entered: ConnectionError: nobo"
    ):
        await lifespans.open()
    assert book.lines == ["enter a", "enter b", "leave a"]
    assert lifespans.values == {}
    book.failing = ""
    await lifespans.open()  # the next one tries again
    assert len(lifespans.values) == 2
    await lifespans.close()


async def test_those_who_open_at_the_same_time_open_once() -> None:
    book = Book()
    lifespans = Lifespans([book.lifespan("a")])
    await asyncio.gather(*(lifespans.open() for _ in range(5)))
    assert book.lines == ["enter a"]
    await lifespans.close()


async def test_without_any_nothing_is_started() -> None:
    lifespans = Lifespans()
    before = asyncio.all_tasks()
    await lifespans.open()
    await lifespans.close()
    assert asyncio.all_tasks() == before


async def test_one_that_does_not_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_SECONDS", 0.05)
    release = asyncio.Event()

    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        yield
        await release.wait()

    lifespans = Lifespans([slow])
    await lifespans.open()
    await asyncio.wait_for(lifespans.close(), 5)
    release.set()


async def test_an_error_at_the_exit_is_logged_and_ends_nothing() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        yield
        raise OSError("gone")

    lifespans = Lifespans([broken])
    await lifespans.open()
    await lifespans.close()


async def test_one_that_is_never_entered_does_not_hold_up_the_end() -> None:
    book = Book()

    @asynccontextmanager
    async def hanging() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    lifespans = Lifespans([book.lifespan("a"), hanging])
    opening = asyncio.create_task(lifespans.open())
    await asyncio.sleep(0.01)
    await asyncio.wait_for(lifespans.close(), 1)
    assert book.lines == ["enter a", "leave a"]
    with pytest.raises(LifespanFailed):
        await opening

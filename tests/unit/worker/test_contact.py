"""Calls under way, and outages that are logged once."""

from __future__ import annotations

import pytest

from headrace_worker import contact as module
from headrace_worker.contact import Contact


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """Takes the place of the logger."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self.events.append(event)

    warning = info


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    monkeypatch.setattr(module, "log", lines)
    return lines


def test_the_longest_call_is_told_with_its_age() -> None:
    clock = Clock()
    contact = Contact(clock)
    first = contact.begin("claim")
    clock.now += 2
    second = contact.begin("renew")
    clock.now += 1
    assert contact.longest() == ("claim", 3.0)
    contact.end(first)
    assert contact.longest() == ("renew", 1.0)
    contact.end(second)
    assert contact.longest() is None


def test_only_calls_that_ask_for_tasks_count_as_asking() -> None:
    clock = Clock()
    contact = Contact(clock)
    clock.now += 5
    contact.begin("renew")
    assert contact.asked_at == 100.0
    contact.begin("claim", asks=True)
    assert contact.asked_at == 105.0


def test_an_outage_is_logged_once_and_its_end_once(lines: Lines) -> None:
    contact = Contact(Clock())
    contact.answered("loop")
    for _ in range(5):
        contact.failed("loop", ConnectionError("refused"))
        contact.failed("renewal", ConnectionError("refused"))
    assert lines.events == ["redis.lost"]
    contact.answered("loop")
    contact.answered("loop")
    assert lines.events == ["redis.lost"], "the renewal thread has not got through yet"
    contact.answered("renewal")
    assert lines.events == ["redis.lost", "redis.back"]

"""How many live workers serve a queue, and the one warning of a queue that nobody serves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.taskqueue import Stats
from headrace_api.tasks import live_workers
from headrace_api.tasks.live_workers import WAITED_SECONDS, LiveWorkers
from tests.unit.api.stats import SOME_STATS, queue_stats

WAITING = queue_stats(5, WAITED_SECONDS)


def reading(queues: dict[str, Any], served: list[list[str]]) -> Stats:
    [worker] = SOME_STATS.workers
    workers = [msgspec.structs.replace(worker, queues=names) for names in served]
    return msgspec.structs.replace(SOME_STATS, queues=queues, workers=workers)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(
        live_workers.log, "warning", lambda _, **fields: found.append(fields["queue"])
    )
    return found


def test_nothing_is_said_of_workers_before_a_reading_and_while_redis_is_away() -> None:
    found = LiveWorkers()
    assert found.count("a") is None
    found.note(reading({}, [["a", "b"], ["a"]]))
    assert (found.count("a"), found.count("b"), found.count("c")) == (2, 1, 0)
    found.note(None)
    assert found.count("a") is None


def test_a_queue_that_nobody_serves_is_warned_of_once_until_it_is_served(warned: list[str]) -> None:
    found = LiveWorkers()
    for _ in range(3):
        found.note(reading({"a": WAITING, "b": WAITING}, [["b"]]))
    assert warned == ["a"]
    found.note(None)
    found.note(reading({"a": WAITING}, []))
    assert warned == ["a"]
    found.note(reading({"a": WAITING}, [["a"]]))
    found.note(reading({"a": WAITING}, []))
    assert warned == ["a", "a"]


def test_a_worker_that_drains_claims_nothing_and_serves_nobody(warned: list[str]) -> None:
    found = LiveWorkers()
    stats = reading({"a": WAITING}, [["a"], ["a"]])
    first, other = stats.workers
    leaving = msgspec.structs.replace(first, draining=True)
    found.note(msgspec.structs.replace(stats, workers=[leaving, other]))
    assert (found.count("a"), warned) == (1, [])
    found.note(msgspec.structs.replace(stats, workers=[leaving]))
    assert (found.count("a"), warned) == (0, ["a"])


@pytest.mark.parametrize("age", [None, 0.0, WAITED_SECONDS - 0.1])
def test_a_queue_is_not_warned_of_while_its_workers_may_still_start(
    warned: list[str], age: float | None
) -> None:
    LiveWorkers().note(reading({"a": queue_stats(1, age)}, []))
    assert warned == []

"""The circuit to Redis and the readiness that hangs on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from headrace.taskqueue import LayoutTooNew, NoReply, NotSent, TaskQueue
from headrace_api.tasks import availability
from headrace_api.tasks.availability import START_SECONDS, Availability, RedisState


class ScriptedQueue:
    """Answers each reading of the stats with the next of these; the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def stats(self, known_types: tuple[str, ...]) -> Any:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; for 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


def made(queue: ScriptedQueue | None, clock: Clock | None = None) -> Availability:
    return Availability(cast("TaskQueue | None", queue), tuple, clock=clock or Clock())


def test_at_the_start_the_circuit_is_closed_and_nothing_is_ready() -> None:
    found = made(ScriptedQueue("stats"))
    assert found.usable
    assert found.state is RedisState.UNKNOWN
    assert not found.ready


def test_ready_after_ten_seconds_without_redis() -> None:
    clock = Clock()
    found = made(ScriptedQueue("stats"), clock)
    clock.now += START_SECONDS
    assert found.ready


def test_without_a_queue_it_is_ready_at_once_and_never_usable() -> None:
    found = made(None)
    assert found.ready
    assert not found.usable
    assert found.state is RedisState.DISABLED


async def test_once_redis_has_answered_it_stays_ready_through_an_outage() -> None:
    queue = ScriptedQueue("stats", NotSent("refused"))
    found = made(queue)
    await found.probe(cast("TaskQueue", queue))
    assert found.ready
    assert cast("object", found.stats) == "stats"
    await found.probe(cast("TaskQueue", queue))
    assert found.state is RedisState.UNAVAILABLE
    assert found.ready
    assert found.stats is None


async def test_a_redis_that_answers_but_cannot_be_used_is_no_outage_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(availability.log, "error", lambda event, **_: heard.append(event))
    queue = ScriptedQueue(LayoutTooNew("9", 1), LayoutTooNew("9", 1), "stats", LayoutTooNew("9", 1))
    found = made(queue)
    for _ in range(2):
        await found.probe(cast("TaskQueue", queue))
        assert found.state is RedisState.UNSUITABLE
        assert found.usable
        assert found.stats is None
    assert heard == ["redis.unsuitable"]
    await found.probe(cast("TaskQueue", queue))
    assert found.state is RedisState.AVAILABLE
    await found.probe(cast("TaskQueue", queue))
    assert heard == ["redis.unsuitable"] * 2


async def fail(error: Exception) -> None:
    raise error


async def test_a_call_that_finds_redis_away_opens_the_circuit() -> None:
    found = made(ScriptedQueue("stats"))
    with pytest.raises(NotSent):
        await found.call(lambda: fail(NotSent("refused")))
    assert found.state is RedisState.UNAVAILABLE
    with pytest.raises(NotSent):
        await found.call(asyncio.Event().wait)


async def test_a_late_reply_leaves_the_circuit_to_the_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(availability, "PROBE_SECONDS", 60)
    monkeypatch.setattr(availability, "DECIDE_SECONDS", 0.05)
    queue = ScriptedQueue("stats", "newer stats", NotSent("refused"))
    found = made(queue)
    probing = asyncio.create_task(found.run())
    await until(lambda: found.usable and cast("object", found.stats) == "stats")
    with pytest.raises(NoReply):
        await found.call(lambda: fail(NoReply("late")))
    assert found.usable
    await until(lambda: cast("object", found.stats) == "newer stats")
    with pytest.raises(NoReply):
        await found.call(asyncio.Event().wait)  # never answered
    await until(lambda: found.state is RedisState.UNAVAILABLE)
    probing.cancel()


async def test_the_probe_asks_twice_before_it_calls_a_silent_redis_away() -> None:
    queue = ScriptedQueue(NoReply("another call was late"), "stats", NoReply("x"), NoReply("x"))
    found = made(queue)
    await found.probe(cast("TaskQueue", queue))
    assert cast("object", found.stats) == "stats"
    await found.probe(cast("TaskQueue", queue))
    assert found.state is RedisState.UNAVAILABLE


async def test_the_calls_of_one_request_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "DECIDE_SECONDS", 0.2)
    found = made(ScriptedQueue("stats"))
    loop = asyncio.get_running_loop()
    started, by = loop.time(), availability.decide_by()
    for _ in range(5):
        with pytest.raises(NoReply):
            await found.call(asyncio.Event().wait, by)
    assert loop.time() - started < 0.4


async def test_the_way_back_is_found_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "PROBE_AWAY_SECONDS", 0.001)
    found = made(ScriptedQueue(NotSent("x"), NoReply("x"), RuntimeError("a defect"), "stats"))
    probing = asyncio.create_task(found.run())
    await until(lambda: found.state is RedisState.AVAILABLE)
    probing.cancel()
    found.require()


async def test_a_call_that_loses_redis_wakes_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "PROBE_SECONDS", 60)
    found = made(ScriptedQueue("stats"))
    probing = asyncio.create_task(found.run())
    await asyncio.sleep(0)
    found.lost(NoReply("x"))
    with pytest.raises(NotSent):
        found.require()
    await until(lambda: found.usable)
    probing.cancel()


async def test_a_probe_that_is_cancelled_in_the_moment_of_a_loss_ends() -> None:
    found = made(ScriptedQueue("stats"))
    probing = asyncio.create_task(found.run())
    await asyncio.sleep(0.01)
    found.lost(NoReply("x"))
    await asyncio.sleep(0)  # the event has woken the probe, which has not run yet
    probing.cancel()
    async with asyncio.timeout(2):
        await asyncio.gather(probing, return_exceptions=True)
    assert probing.cancelled()

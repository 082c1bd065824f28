"""When the tend loop runs which duty, told by a clock that the test turns."""

from __future__ import annotations

import asyncio

import pytest

from headrace.taskqueue import Fenced, NoReply, QueueError
from headrace_api.tend import Tend


class Clock:
    """Seconds, as the test wants them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lease:
    """What Redis would say of the lease."""

    lease_seconds = 30.0
    fence = 1
    free_in_seconds = 0.0

    def __init__(self) -> None:
        self.replies: list[bool | QueueError] = []
        """What `take` brings, one by one; then it is held."""
        self.taken = 0
        self.released = 0

    async def take(self) -> bool:
        self.taken += 1
        reply = self.replies.pop(0) if self.replies else True
        if isinstance(reply, QueueError):
            raise reply
        return reply

    async def release(self) -> None:
        self.released += 1


class Work:
    """A duty that notes when it ran."""

    def __init__(self, clock: Clock, name: str = "work", every_seconds: float = 20.0) -> None:
        self.name = name
        self.every_seconds = every_seconds
        self.ran: list[float] = []
        self.results: list[bool | Exception] = []
        """What `step` brings, one by one; then nothing more is to be done."""
        self.step_seconds = 0.0
        self._clock = clock

    async def step(self, lease: object) -> bool:
        self.ran.append(self._clock.now - 1000)
        self._clock.now += self.step_seconds
        result = self.results.pop(0) if self.results else False
        if isinstance(result, Exception):
            raise result
        return result


class Harness:
    """A loop, and what it works with."""

    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.lease = Lease()
        self.duties = [Work(self.clock, name) for name in names or ("work",)]
        self.work = self.duties[0]
        self.tend = Tend(self.lease, self.duties, self.clock)  # type: ignore[arg-type]

    async def pass_by(self, seconds: float) -> None:
        """Round for round, until so much time has passed."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            pause = await self.tend._round()
            self.clock.now = min(end, self.clock.now + max(pause, 0.001))


async def test_jobs_run_at_once_and_then_each_at_its_time() -> None:
    harness = Harness()
    await harness.pass_by(45)
    assert harness.work.ran == [0, 20, 40]
    assert harness.tend.runs == {"work": 3}
    assert harness.lease.taken == 5, "renewed every third of the lease"


async def test_nothing_runs_while_another_process_holds_the_lease() -> None:
    harness = Harness()
    harness.lease.replies = [False, False]
    harness.lease.free_in_seconds = 7.0
    assert await harness.tend._round() == pytest.approx(7.01)
    harness.lease.free_in_seconds = 25.0
    assert await harness.tend._round() == 10.0
    assert harness.work.ran == []
    assert not harness.tend.holds
    await harness.pass_by(1)
    assert len(harness.work.ran) == 1
    assert harness.tend.holds


async def test_a_long_run_renews_the_lease_between_its_steps_and_stops_when_it_is_lost() -> None:
    harness = Harness()
    harness.work.step_seconds = 6.0
    harness.work.results = [True] * 100
    harness.lease.replies = [True, True, False]
    await harness.tend._round()
    assert harness.work.ran == [0, 6, 12, 18]
    assert not harness.tend.holds
    assert harness.tend.runs == {}


@pytest.mark.parametrize("error", [NoReply("away"), Fenced("periodic")])
async def test_a_run_that_loses_the_lease_is_done_again_once_it_is_held_again(
    error: QueueError,
) -> None:
    harness = Harness()
    harness.work.results = [error]
    assert await harness.tend._round() == 1.0
    assert not harness.tend.holds
    await harness.pass_by(5)
    assert len(harness.work.ran) == 2
    assert (harness.tend.runs, harness.tend.failures) == ({"work": 1}, {})


async def test_while_redis_is_away_the_loop_asks_again() -> None:
    harness = Harness()
    harness.lease.replies = [NoReply("away")] * 5
    await harness.pass_by(10)
    assert harness.lease.taken >= 6
    assert harness.tend.holds


async def test_an_error_in_one_job_is_counted_and_does_no_harm_to_others() -> None:
    harness = Harness("bad", "good")
    harness.work.results = [ValueError("a defect"), QueueError("a script's error")]
    await harness.pass_by(25)
    bad, good = harness.duties
    assert (bad.ran, good.ran) == ([0, 20], [0, 20])
    assert (harness.tend.runs, harness.tend.failures) == ({"good": 2}, {"bad": 2})
    assert harness.tend.holds


async def test_a_loop_that_ends_gives_the_lease_up() -> None:
    harness = Harness()
    task = asyncio.create_task(harness.tend.run())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert harness.lease.released == 1
    assert not harness.tend.holds

"""Which acknowledgements count, and which marks are set, renewed and lifted."""

from __future__ import annotations

import asyncio

import pytest

from controller.api import ApiError
from controller.marks import Mark, Marks, corrected
from controller.model import Reading, Worker
from tests.unit.controller.fakes import Clock, FakeApi
from tests.unit.controller.scenes import START, worker


def reading(*workers: Worker) -> Reading:
    return Reading(at=START, epoch="e1", queues={}, workers=workers)


ACKNOWLEDGED = reading(worker(1, draining=True, drained=True))


def counts(mark: Mark | None, asked_at: float, now: float) -> bool:
    marks = {} if mark is None else {"w1": mark}
    [found] = corrected(ACKNOWLEDGED, asked_at, marks, now).workers
    assert found.draining
    return found.drained


def test_an_acknowledgement_counts_if_our_own_mark_stood_before_the_question() -> None:
    mark = Mark(since=100, renewed_at=100)
    assert counts(mark, asked_at=100, now=101)
    assert not counts(mark, asked_at=99.9, now=101)


def test_the_mark_of_somebody_else_counts_for_nothing() -> None:
    assert not counts(None, asked_at=100, now=101)


def test_a_mark_that_was_not_renewed_for_forty_seconds_does_not_count() -> None:
    mark = Mark(since=50, renewed_at=100)
    assert counts(mark, asked_at=139, now=139.9)
    assert not counts(mark, asked_at=139, now=140)


def test_a_mark_set_since_the_question_shows_already() -> None:
    found = corrected(reading(worker(1)), 99, {"w1": Mark(100, 100)}, 101).workers[0]
    assert (found.draining, found.drained) == (True, False)
    # Asked later and not draining: it has been lifted, by whomever.
    found = corrected(reading(worker(1)), 101, {"w1": Mark(100, 100)}, 102).workers[0]
    assert not found.draining


async def test_new_workers_are_marked_and_marks_renewed_in_time() -> None:
    clock, api = Clock(100), FakeApi()
    marks = Marks(clock)
    await marks.keep(api, ["w1"])
    clock.now = 110
    await marks.keep(api, ["w1", "w2"])
    assert api.taken() == [("drain", "w1"), ("drain", "w2")]
    clock.now = 120
    await marks.keep(api, ["w1", "w2"])
    assert api.taken() == []
    clock.now = 121
    await marks.keep(api, ["w1", "w2"])
    assert api.taken() == [("drain", "w1")]


async def test_a_renewed_mark_counts_from_its_beginning() -> None:
    clock, api = Clock(100), FakeApi()
    marks = Marks(clock)
    for clock.now in (100, 125, 150, 175):
        await marks.keep(api, ["w1"])
    assert marks.acknowledged(ACKNOWLEDGED, asked_at=101).workers[0].drained


async def test_a_mark_that_may_have_lapsed_counts_anew() -> None:
    clock, api = Clock(100), FakeApi()
    marks = Marks(clock)
    await marks.keep(api, ["w1"])
    clock.now = 141
    await marks.keep(api, ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=140).workers[0].drained
    assert marks.acknowledged(ACKNOWLEDGED, asked_at=141).workers[0].drained


class Slow(FakeApi):
    """Each call takes some seconds of the clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self._time, self._seconds = clock, seconds

    async def drain(self, worker: str) -> bool:
        self._time.now += self._seconds
        return await super().drain(worker)


async def test_a_mark_stands_from_its_answer_and_ages_from_its_question() -> None:
    clock = Clock(100)
    marks = Marks(clock)
    await marks.keep(Slow(clock, 2), ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=101.9).workers[0].drained
    assert marks.acknowledged(ACKNOWLEDGED, asked_at=102).workers[0].drained
    clock.now = 140
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=139).workers[0].drained


async def test_a_renewal_that_took_too_long_may_have_come_too_late() -> None:
    clock = Clock(100)
    marks = Marks(clock)
    await marks.keep(FakeApi(), ["w1"])
    clock.now = 138
    await marks.keep(Slow(clock, 3), ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=138).workers[0].drained
    assert marks.acknowledged(ACKNOWLEDGED, asked_at=141).workers[0].drained


async def test_a_mark_that_cannot_be_set_is_told() -> None:
    clock, api = Clock(100), FakeApi()
    marks = Marks(clock)
    api.error = ApiError(503, "HTTP 503")
    with pytest.raises(ApiError, match="HTTP 503"):
        await marks.keep(api, ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=101).workers[0].drained


async def test_a_worker_that_is_gone_counts_as_marked_and_acknowledges_nothing() -> None:
    clock, api = Clock(100), FakeApi()
    marks = Marks(clock)
    api.gone = {"w1"}
    await marks.keep(api, ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=101).workers[0].drained


async def test_a_worker_that_went_and_came_again_was_not_marked_all_the_time() -> None:
    clock, api = Clock(100), FakeApi()
    marks = Marks(clock)
    await marks.keep(api, ["w1"])
    clock.now, api.gone = 121, {"w1"}
    await marks.keep(api, ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=121).workers[0].drained
    clock.now, api.gone = 122, set()
    await marks.keep(api, ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=121).workers[0].drained
    assert marks.acknowledged(ACKNOWLEDGED, asked_at=122).workers[0].drained


async def test_a_lifted_mark_counts_no_more_even_if_the_answer_was_lost() -> None:
    clock, api = Clock(100), FakeApi()
    marks = Marks(clock)
    await marks.keep(api, ["w1"])
    api.error = ApiError(0, "no answer")
    with pytest.raises(ApiError, match="no answer"):
        await marks.lift(api, ["w1"])
    assert not marks.acknowledged(ACKNOWLEDGED, asked_at=101).workers[0].drained


class Hanging(FakeApi):
    """Never answers for one worker."""

    async def drain(self, worker: str) -> bool:
        if worker == "w1":
            await asyncio.Event().wait()
        return await super().drain(worker)


async def test_an_api_that_hangs_holds_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.marks.KEEPING_SECONDS", 0.05)
    clock, api = Clock(100), Hanging()
    marks = Marks(clock)
    with pytest.raises(ApiError, match="took longer"):
        await marks.keep(api, ["w1", "w2"])
    both = reading(*(worker(number, draining=True, drained=True) for number in (1, 2)))
    found = marks.acknowledged(both, asked_at=101).workers
    assert [worker.drained for worker in found] == [False, True]

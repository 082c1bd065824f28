"""When the stats are asked for, and what of the answers is kept."""

from __future__ import annotations

import asyncio

from controller.model import Reading, Unread
from controller.polling import Reader, Readers, pause_seconds
from controller.resource import parse as resource
from tests.unit.controller.fakes import FakeApi, autoscaler
from tests.unit.controller.scenes import START

READING = Reading(at=START, epoch="e1", queues={}, workers=())


def test_pauses_grow_with_failures_and_stay_within_four_seconds() -> None:
    drawn = [pause_seconds(failures, lambda: 0.0) for failures in range(1, 6)]
    assert drawn == [1, 2, 2, 2, 2]
    drawn = [pause_seconds(failures, lambda: 1.0) for failures in range(1, 6)]
    assert drawn == [2, 4, 4, 4, 4]
    assert pause_seconds(10**9, lambda: 1.0) == 4


class Answers(FakeApi):
    """An API that gives these answers, then none."""

    def __init__(self, *answers: Reading | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked = 0
        self.closed = False

    async def stats(self) -> Reading | Unread:
        self.asked += 1
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


def latest(reader: Reader) -> Reading | Unread | None:
    """As it is by now."""
    return reader.latest


async def test_a_reading_is_as_old_as_its_question() -> None:
    moments = iter([7.0, 7.4, 8.0, 8.1])
    reader = Reader(Answers(READING), clock=lambda: next(moments))
    assert reader.latest is None
    await asyncio.sleep(0.01)
    assert (latest(reader), reader.asked_at) == (READING, 7.0)
    await reader.close()


async def test_nothing_ends_the_polling() -> None:
    api = Answers(RuntimeError("a defect"), READING)
    pauses: list[Reading | Unread | None] = []

    def draw() -> float:
        pauses.append(reader.latest)
        return -1.0

    reader = Reader(api, draw)
    await asyncio.sleep(0.01)
    assert isinstance(pauses[0], Unread)
    assert latest(reader) == READING
    await reader.close()
    assert api.closed


async def test_resources_of_one_address_share_a_reader_and_it_ends_with_the_last() -> None:
    made: list[Answers] = []

    def connect(address: object) -> Answers:
        made.append(Answers())
        return made[-1]

    readers = Readers(connect)
    a, b = resource(autoscaler("a")), resource(autoscaler("b"))
    keyed = resource(autoscaler("c", spec={"api": {"url": "http://api:8000", "secretName": "s"}}))
    assert readers.of(a) is readers.of(b)
    assert readers.of(keyed) is not readers.of(a)
    await readers.keep([b])
    assert [api.closed for api in made] == [False, True]
    await readers.keep([])
    assert [api.closed for api in made] == [True, True]

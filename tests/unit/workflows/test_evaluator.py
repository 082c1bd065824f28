"""The process that evaluates: its limits, and that it is replaced when it has died."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

import pytest

from headrace.workflows.expressions import child
from headrace.workflows.expressions.checker import Checker
from headrace.workflows.expressions.child import EvaluationFailed, Limits
from headrace.workflows.expressions.evaluator import Evaluator

SMALL = Limits(cpu_seconds=0.2, memory_bytes=128 * 1024 * 1024, max_result_bytes=1000)


@pytest.fixture
async def make() -> AsyncIterator[Callable[[Limits], Evaluator]]:
    made: list[Evaluator] = []

    def make(limits: Limits) -> Evaluator:
        made.append(Evaluator(limits))
        return made[-1]

    yield make
    for evaluator in made:
        await evaluator.close()


Make = Callable[[Limits], Evaluator]


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The children that are started."""
    processes: list[subprocess.Popen[bytes]] = []

    def spawn(limits: Limits) -> tuple[subprocess.Popen[bytes], socket.socket]:
        process, ours = child.spawn(limits)
        processes.append(process)
        return process, ours

    monkeypatch.setattr("headrace.workflows.expressions.evaluator.spawn", spawn)
    monkeypatch.setattr("headrace.workflows.expressions.checker.spawn", spawn)
    return processes


@pytest.mark.parametrize(
    ("program", "limit", "reason"),
    [
        ("def f: f; f", "time", "more than 0.2 s of CPU time"),
        ("[range(1; infinite)] | length", None, "more than"),
        ("reduce range(40) as $i (.; . + .)", "memory", "more than 128 MiB of memory"),
    ],
)
async def test_an_expression_without_end_is_ended_and_the_next_one_works(
    make: Make, program: str, limit: str | None, reason: str
) -> None:
    evaluator = make(SMALL)
    with pytest.raises(EvaluationFailed, match=reason) as caught:
        await evaluator.evaluate([program], b'"0123456789"')
    assert limit is None or caught.value.limit == limit
    assert await evaluator.evaluate(["1 + 1"], b"null") == [2]


async def test_a_result_that_is_too_large_is_refused(make: Make) -> None:
    with pytest.raises(EvaluationFailed, match="over 1000 bytes") as caught:
        await make(SMALL).evaluate(["1", "[range(1000)]"], b"null")
    assert caught.value.index == 1


async def test_a_child_that_stands_still_is_replaced(
    make: Make, spawned: list[subprocess.Popen[bytes]]
) -> None:
    evaluator = make(Limits(wall_seconds=1))
    await evaluator.evaluate(["1"], b"null")
    spawned[0].send_signal(signal.SIGSTOP)
    with pytest.raises(EvaluationFailed, match="within 1 s"):
        await evaluator.evaluate(["1"], b"null")
    assert spawned[0].poll() == -signal.SIGKILL
    assert await evaluator.evaluate(["2"], b"null") == [2]


async def test_a_cancelled_evaluation_leaves_no_reply_for_the_next(make: Make) -> None:
    evaluator = make(Limits())
    await evaluator.evaluate(["0"], b"null")
    slow = asyncio.create_task(evaluator.evaluate(["[range(300000)] | length"], b"null"))
    await asyncio.sleep(0.02)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await evaluator.evaluate(["1"], b"null") == [1]


async def test_many_at_once_each_get_their_own_result(
    make: Make, spawned: list[subprocess.Popen[bytes]]
) -> None:
    evaluator = make(Limits())
    asked = [evaluator.evaluate([". + 1", "."], str(n).encode()) for n in range(50)]
    assert await asyncio.gather(*asked) == [[n + 1, n] for n in range(50)]
    assert len(spawned) == 1


async def test_closing_ends_the_process(make: Make, spawned: list[subprocess.Popen[bytes]]) -> None:
    evaluator = make(Limits())
    await evaluator.evaluate(["1"], b"null")
    await evaluator.close()
    assert [process.returncode for process in spawned] == [-signal.SIGKILL]


async def test_the_child_ends_by_itself_when_its_parent_is_gone() -> None:
    process, ours = child.spawn(Limits())
    ours.close()
    assert await asyncio.to_thread(process.wait, 10) == 0


def test_checking_ends_its_process_and_remembers_what_was_right(
    spawned: list[subprocess.Popen[bytes]],
) -> None:
    def refuse(reason: str) -> NoReturn:
        raise AssertionError(reason)

    with Checker() as checker:
        checker.check([(f". + {n}", refuse) for n in range(250)])
    assert [process.returncode for process in spawned] == [0]
    with Checker() as checker:
        checker.check([(". + 3", refuse)])
    assert len(spawned) == 1


def test_of_many_expressions_the_one_over_the_limit_is_refused() -> None:
    refused: list[int] = []

    def refusing(place: int) -> Callable[[str], NoReturn]:
        def refuse(_reason: str) -> NoReturn:
            refused.append(place)
            raise LookupError

        return refuse

    programs = ["1", '"x" * 2000000000', "2"]
    with Checker(SMALL) as checker, pytest.raises(LookupError):
        checker.check([(program, refusing(place)) for place, program in enumerate(programs)])

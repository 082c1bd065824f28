"""The processes that evaluate: their limits, how many there are, and that the dead are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal, NoReturn, Protocol

import pytest
import uvloop

from headrace.workflows.expressions import child
from headrace.workflows.expressions.checker import Checker
from headrace.workflows.expressions.child import EvaluationFailed, Limits
from headrace.workflows.expressions.evaluator import Evaluator

SMALL = Limits(cpu_seconds=0.2, memory_bytes=128 * 1024 * 1024, max_result_bytes=1000)


class Make(Protocol):
    """Makes an evaluator that is closed after the test."""

    def __call__(
        self, limits: Limits | None = ..., max_processes: int = ..., idle_seconds: float = ...
    ) -> Evaluator: ...


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Evaluator] = []

    def make(
        limits: Limits | None = None, max_processes: int = 8, idle_seconds: float = 30
    ) -> Evaluator:
        evaluator = Evaluator(limits, max_processes=max_processes, idle_seconds=idle_seconds)
        made.append(evaluator)
        return evaluator

    yield make
    for evaluator in made:
        await evaluator.close()


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started, which others are forked from."""
    processes: list[subprocess.Popen[bytes]] = []

    def spawn(
        limits: Limits, role: Literal["serve", "fork"] = "serve"
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        process, ours = child.spawn(limits, role)
        processes.append(process)
        return process, ours

    monkeypatch.setattr("headrace.workflows.expressions.fork_server.spawn", spawn)
    monkeypatch.setattr("headrace.workflows.expressions.checker.spawn", spawn)
    return processes


def alive(pid: int) -> bool:
    """Whether there is a process of this id, dead ones that nobody has waited for included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pids: list[int], seconds: float = 10) -> bool:
    """Whether all these processes end within some seconds."""
    for _ in range(int(seconds / 0.02)):
        if not any(map(alive, pids)):
            return True
        await asyncio.sleep(0.02)
    return False


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


async def test_a_child_that_stands_still_is_replaced(make: Make) -> None:
    evaluator = make(Limits(wall_seconds=1))
    await evaluator.evaluate(["1"], b"null")
    [still] = evaluator.pids
    os.kill(still, signal.SIGSTOP)
    with pytest.raises(EvaluationFailed, match="within 1 s") as caught:
        await evaluator.evaluate(["1"], b"null")
    assert caught.value.limit == "time"
    assert await evaluator.evaluate(["2"], b"null") == [2]
    assert await gone([still])


async def test_a_cancelled_evaluation_leaves_no_reply_for_the_next(make: Make) -> None:
    evaluator = make(max_processes=1)
    await evaluator.evaluate(["0"], b"null")
    slow = asyncio.create_task(evaluator.evaluate(["[range(300000)] | length"], b"null"))
    await asyncio.sleep(0.02)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await evaluator.evaluate(["1"], b"null") == [1]


async def test_who_is_cancelled_while_it_waits_takes_nobody_s_process(make: Make) -> None:
    evaluator = make(max_processes=1)
    await evaluator.evaluate(["0"], b"null")
    asked = [
        asyncio.create_task(evaluator.evaluate(["."], str(number).encode())) for number in range(20)
    ]
    for number, task in enumerate(asked):
        await asyncio.sleep(0)
        if number % 2:
            task.cancel()
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert done[::2] == [[number] for number in range(0, 20, 2)]
    assert await evaluator.evaluate(["1"], b"null") == [1]
    assert len(evaluator.pids) == 1


async def test_many_at_once_each_get_their_own_result(
    make: Make, spawned: list[subprocess.Popen[bytes]]
) -> None:
    evaluator = make()
    asked = [evaluator.evaluate([". + 1", "."], str(n).encode()) for n in range(50)]
    assert await asyncio.gather(*asked) == [[n + 1, n] for n in range(50)]
    assert len(spawned) == 1


def test_the_event_loop_of_the_services_can_evaluate_too() -> None:
    async def evaluate() -> list[object]:
        evaluator = Evaluator(SMALL)
        with pytest.raises(EvaluationFailed, match="CPU time"):
            await evaluator.evaluate(["def f: f; f"], b"null")
        done = await evaluator.evaluate([". + 1"], b"1")
        await evaluator.close()
        return done

    assert uvloop.run(evaluate()) == [2]


async def test_nothing_waits_for_an_expression_that_does_not_end(make: Make) -> None:
    evaluator = make(Limits(cpu_seconds=20))
    await evaluator.evaluate(["1 + 1"], b"null")
    stopped: list[int] = []
    endless: list[asyncio.Task[list[object]]] = []
    waited: list[float] = []
    for _ in range(6):
        endless.append(asyncio.create_task(evaluator.evaluate(["def f: f; f"], b"null")))
        await asyncio.sleep(0.05)
        # None but the endless are at work. Stopped, they leave this test the processor.
        for pid in set(evaluator.pids) - set(stopped):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        began = time.perf_counter()
        assert await evaluator.evaluate(["1 + 1"], b"null") == [2]
        waited.append(time.perf_counter() - began)
        # The process that is free now takes the next one that does not end.
    assert len(stopped) == 6
    assert statistics.median(waited) < 0.1
    for task in endless:
        task.cancel()
    await asyncio.gather(*endless, return_exceptions=True)
    assert await gone(stopped)


async def test_there_are_no_more_processes_than_may_be_and_all_are_served(make: Make) -> None:
    evaluator = make(Limits(cpu_seconds=0.2), max_processes=2)
    endless = [asyncio.create_task(evaluator.evaluate(["def f: f; f"], b"null")) for _ in range(5)]
    quick = [asyncio.create_task(evaluator.evaluate(["2"], b"null")) for _ in range(5)]
    most = 0
    while not all(task.done() for task in (*endless, *quick)):
        most = max(most, len(evaluator.pids))
        await asyncio.sleep(0.005)
    assert most == 2
    assert [task.result() for task in quick] == [[2]] * 5
    assert all(isinstance(task.exception(), EvaluationFailed) for task in endless)


async def test_a_process_that_nobody_needs_is_ended(make: Make) -> None:
    evaluator = make(idle_seconds=0.2)
    await evaluator.evaluate(["1"], b"null")
    pids = evaluator.pids
    assert len(pids) == 1
    assert await gone(pids)
    assert evaluator.pids == []
    assert await evaluator.evaluate(["1"], b"null") == [1]


async def test_a_killed_process_costs_what_it_evaluates_and_nothing_more(
    make: Make, spawned: list[subprocess.Popen[bytes]]
) -> None:
    evaluator = make()
    await evaluator.evaluate(["1"], b"null")
    os.kill(evaluator.pids[0], signal.SIGKILL)
    await asyncio.sleep(0.1)
    assert await evaluator.evaluate(["2"], b"null") == [2]
    spawned[0].kill()
    assert await evaluator.evaluate(["3"], b"null") == [3]
    os.kill(evaluator.pids[0], signal.SIGKILL)
    await asyncio.sleep(0.1)
    with contextlib.suppress(OSError):  # the first to notice that none can be made any more
        await evaluator.evaluate(["4"], b"null")
    assert await evaluator.evaluate(["5"], b"null") == [5]


async def test_closing_ends_all_processes(
    make: Make, spawned: list[subprocess.Popen[bytes]]
) -> None:
    evaluator = make()
    await evaluator.evaluate(["1"], b"null")
    endless = asyncio.create_task(evaluator.evaluate(["def f: f; f"], b"null"))
    await asyncio.sleep(0.05)
    pids = evaluator.pids
    await evaluator.close()
    assert [process.returncode for process in spawned] == [-signal.SIGKILL]
    with pytest.raises(EvaluationFailed):
        await endless
    assert await gone(pids)


async def test_the_child_ends_by_itself_when_its_parent_is_gone() -> None:
    process, ours = child.spawn(Limits())
    ours.close()
    assert await asyncio.to_thread(process.wait, 10) == 0


def test_checking_ends_its_process_and_remembers_what_was_right(
    spawned: list[subprocess.Popen[bytes]],
) -> None:
    def refuse(error: EvaluationFailed) -> NoReturn:
        raise error

    with Checker() as checker:
        checker.check([(f". + {n}", refuse) for n in range(250)])
    assert [process.returncode for process in spawned] == [0]
    with Checker() as checker:
        checker.check([(". + 3", refuse)])
    assert len(spawned) == 1


def test_of_many_expressions_the_one_over_the_limit_is_refused() -> None:
    refused: list[int] = []

    def refusing(place: int) -> Callable[[EvaluationFailed], NoReturn]:
        def refuse(_error: EvaluationFailed) -> NoReturn:
            refused.append(place)
            raise LookupError

        return refuse

    programs = ["1", '"x" * 2000000000', "2"]
    with Checker(SMALL) as checker, pytest.raises(LookupError):
        checker.check([(program, refusing(place)) for place, program in enumerate(programs)])

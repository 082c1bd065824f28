"""The loop: what leaves in which call, and what is under way at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from headrace import taskqueue as tq
from headrace.handlers import Context, handler
from headrace_worker import draining
from headrace_worker import worker as module
from headrace_worker.worker import Worker
from tests.unit.worker.fake_queue import Consumer, Queue, claimed_task, until


class Bench:
    """A worker whose handlers end when the test says so."""

    def __init__(self, concurrency: int) -> None:
        self.gates: dict[str, asyncio.Event] = {}

        async def work(ctx: Context, payload: Any) -> str:
            self.started.append(ctx.task_id)
            await self.gates.setdefault(ctx.task_id, asyncio.Event()).wait()
            return ctx.task_id

        self.started: list[str] = []
        info = tq.WorkerInfo(
            id="w",
            host="h",
            pod=None,
            pid=1,
            version="1",
            queues=["work"],
            concurrency=concurrency,
            started_at_ms=0,
        )
        queue = Queue()
        self.worker = Worker(queue, [handler("work")(work)], info)  # type: ignore[arg-type]
        assert queue.made is not None
        self.consumer: Consumer = queue.made
        self.task: asyncio.Task[int] | None = None

    def add(self, *ids: str) -> None:
        self.consumer.waiting.extend(claimed_task(task_id) for task_id in ids)

    def start(self) -> None:
        self.task = asyncio.create_task(self.worker.run())

    def finish(self, *ids: str) -> None:
        for task_id in ids:
            self.gates.setdefault(task_id, asyncio.Event()).set()

    async def end(self) -> int:
        assert self.task is not None
        self.consumer.gates.clear()
        self.worker.stop()
        self.finish(*self.started)
        return await asyncio.wait_for(self.task, 10)


def raising(error: Exception) -> Callable[[list[str]], tq.Renewal]:
    def renew(ids: list[str]) -> tq.Renewal:
        raise error

    return renew


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(concurrency=3)
    yield bench
    if bench.task is not None and not bench.task.done():
        await bench.end()
    bench.worker.leases.join(5)


async def test_a_busy_worker_reports_and_claims_in_one_call(bench: Bench) -> None:
    bench.add("a", "b", "c", "d", "e")
    bench.start()
    await until(lambda: bench.started == ["a", "b", "c"])
    bench.finish("a", "b")
    await until(lambda: bench.started == ["a", "b", "c", "d", "e"])
    assert bench.consumer.called("settle")[:2] == [
        ([], 3),
        (["Completed a", "Completed b"], 2),
    ]


async def test_what_ends_while_a_call_is_under_way_joins_the_next(bench: Bench) -> None:
    bench.add("a", "b", "c")
    bench.start()
    await until(lambda: bench.started == ["a", "b", "c"])
    gate = bench.consumer.gates["settle"] = asyncio.Event()
    bench.finish("a")
    await until(lambda: len(bench.consumer.called("settle")) == 2)
    bench.finish("b", "c")
    await asyncio.sleep(0.01)
    assert len(bench.consumer.called("settle")) == 2, "one call is in flight, and no more"
    gate.set()
    await until(lambda: len(bench.consumer.called("settle")) >= 3)
    sent = [what for what, _ in bench.consumer.called("settle")]
    assert sent[1:3] == [["Completed a"], ["Completed b", "Completed c"]]


async def test_an_idle_worker_waits_and_reports_without_claiming_meanwhile(bench: Bench) -> None:
    bench.add("a")
    bench.start()
    await until(lambda: bench.consumer.called("wait"))
    assert bench.consumer.called("wait")[0] == ([], 2)
    bench.finish("a")
    await until(lambda: len(bench.consumer.called("settle")) == 2)
    assert bench.consumer.called("settle")[1] == (["Completed a"], 0)


async def test_work_that_comes_while_waiting_is_begun(bench: Bench) -> None:
    bench.start()
    await until(lambda: bench.consumer.called("wait"))
    bench.add("a", "b", "c", "d")
    bench.consumer.wake.set()
    await until(lambda: bench.started == ["a", "b", "c"])
    bench.finish("a")
    await until(lambda: bench.started[3:] == ["d"])
    assert bench.consumer.called("settle")[-1] == (["Completed a"], 1)


async def test_there_is_never_more_than_one_claim_under_way(bench: Bench) -> None:
    bench.start()
    for number in range(60):
        bench.add(f"t{number}")
        bench.consumer.wake.set()
        if number % 3 == 0:
            await asyncio.sleep(0.001)
        bench.finish(*bench.started)
    bench.finish(*(f"t{number}" for number in range(60)))
    await until(lambda: len(bench.started) == 60)
    assert bench.consumer.most_claims == 1


async def test_outcomes_are_kept_and_sent_again_until_they_are_accepted(bench: Bench) -> None:
    bench.add("a", "b")
    bench.start()
    await until(lambda: bench.started == ["a", "b"])
    bench.consumer.failing = [tq.NotSent("refused"), tq.NoReply("silent"), tq.OutOfMemory("full")]
    bench.finish("a")
    await until(lambda: len([what for what, _ in bench.consumer.called("settle") if what]) == 4)
    assert all(what in ([], ["Completed a"]) for what, _ in bench.consumer.called("settle"))
    await until(lambda: {attempt.claimed.id for attempt in bench.worker._hand.held} == {"b"})


async def test_while_a_report_fails_nothing_is_claimed(bench: Bench) -> None:
    bench.add("a")
    bench.start()
    await until(lambda: bench.consumer.called("wait"))
    bench.consumer.failing = [tq.NotSent("refused")] * 3
    bench.finish("a")
    await until(lambda: len([what for what, _ in bench.consumer.called("settle") if what]) == 4)
    bench.add("b")
    bench.consumer.wake.set()
    await until(lambda: bench.started == ["a", "b"])
    calls = bench.consumer.calls
    reports = [n for n, (_, what, _) in enumerate(calls) if what == ["Completed a"]]
    between = calls[reports[0] : reports[-1] + 1]
    assert between == [("settle", ["Completed a"], 0)] * 4


async def test_a_wait_that_is_ended_before_it_began_is_not_waited_for(bench: Bench) -> None:
    bench.add("a", "b", "c")
    bench.start()
    await until(lambda: len(bench.started) == 3)
    bench.worker._start_waiting()
    bench.worker.leases._on_not_renewed()
    await asyncio.sleep(0.01)
    bench.worker.leases.renewed([], tq.Renewal([], [], False, False), 0)
    bench.add("d")
    bench.finish("a")
    await until(lambda: "d" in bench.started)


async def test_while_renewals_fail_nothing_is_claimed(bench: Bench) -> None:
    bench.consumer.on_renew = raising(tq.NoReply("silent"))
    bench.start()
    bench.add("a")
    await asyncio.sleep(0.1)
    assert [name for name, _, _ in bench.consumer.calls] == ["register"]
    bench.consumer.on_renew = lambda ids: tq.Renewal([], [], False, False)
    await until(lambda: bench.started == ["a"])


async def test_a_claim_that_comes_back_after_the_stop_is_handed_back_unrun(bench: Bench) -> None:
    bench.start()
    await until(lambda: bench.consumer.called("wait"))
    bench.add("late")
    bench.worker.stop()
    assert bench.task is not None
    assert await bench.task == 0
    assert bench.started == []
    assert bench.consumer.called("settle")[-1] == (["Released late"], 0)
    assert bench.consumer.calls[-1][0] == "deregister"


async def test_a_stopped_worker_lets_running_tasks_end(bench: Bench) -> None:
    bench.add("a", "b")
    bench.start()
    await until(lambda: bench.started == ["a", "b"])
    bench.worker.stop()
    await asyncio.sleep(0.02)
    assert bench.task is not None
    assert not bench.task.done()
    bench.finish("a", "b")
    assert await bench.task == 0
    ended = [settlement for what, _ in bench.consumer.called("settle") for settlement in what]
    assert sorted(ended) == ["Completed a", "Completed b"]


async def test_a_second_stop_hands_running_tasks_back(bench: Bench) -> None:
    bench.add("a")
    bench.start()
    await until(lambda: bench.started == ["a"])
    bench.worker.stop()
    bench.worker.stop()
    assert bench.task is not None
    assert await bench.task == 0
    assert bench.consumer.called("settle")[-1] == (["Released a"], 0)


async def test_an_ending_worker_gives_up_when_redis_stays_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_UP_SECONDS", 0.1)
    bench.add("a")
    bench.start()
    await until(lambda: bench.started == ["a"])
    bench.consumer.failing = [tq.NotSent("refused")] * 1000
    bench.worker.stop()
    await asyncio.sleep(0.2)
    assert bench.task is not None
    assert not bench.task.done(), "a task runs: nothing is given up"
    bench.finish("a")
    assert await bench.task == 1


async def test_data_of_a_newer_layout_ends_the_worker(bench: Bench) -> None:
    bench.consumer.failing = [tq.LayoutTooNew("9", 1)]
    bench.start()
    assert bench.task is not None
    assert await bench.task == 3


async def test_a_newer_layout_that_takes_no_report_ends_the_worker_without_a_storm(
    bench: Bench,
) -> None:
    bench.add("a", "b")
    bench.start()
    await until(lambda: bench.started == ["a", "b"])
    bench.consumer.failing = [tq.LayoutTooNew("9", 1) for _ in range(1000)]
    bench.finish("a")
    assert bench.task is not None
    assert await asyncio.wait_for(bench.task, 5) == 3
    assert len(bench.consumer.failing) > 990
    assert {attempt.claimed.id for attempt in bench.worker._hand.held} == {"a", "b"}


async def test_what_has_ended_is_still_reported_when_only_what_waits_is_too_new(
    bench: Bench,
) -> None:
    bench.add("a", "b", "c")
    bench.start()
    await until(lambda: bench.started == ["a", "b", "c"])
    bench.consumer.failing = [tq.LayoutTooNew("9", 1)]
    bench.finish("a")
    assert bench.task is not None
    assert await asyncio.wait_for(bench.task, 5) == 3
    *_, refused, accepted = bench.consumer.called("settle")
    assert refused == (["Completed a"], 1)
    assert sorted(accepted[0]) == ["Completed a", "Released b", "Released c"]
    assert accepted[1] == 0
    assert bench.worker._hand.held == set()


@pytest.mark.parametrize(
    "error", [tq.OutOfMemory("full"), tq.LayoutTooNew("9", 1), tq.NoReply("silent")]
)
async def test_a_progress_that_cannot_be_told_harms_nothing(
    bench: Bench, error: tq.QueueError
) -> None:
    bench.add("a")
    bench.start()
    await until(lambda: bench.started == ["a"])
    [running] = bench.worker._hand.held
    bench.worker._host.progress(running.ctx, 50, "half")
    bench.consumer.failing = [error]
    bench.finish("a")
    await until(lambda: not bench.worker._hand.held)
    assert bench.consumer.called("settle")[-1][0] == ["Completed a"]
    assert bench.consumer.called("progress") == [(["a"], 0)]
    assert await bench.end() == 0


async def test_of_two_holds_on_one_task_only_the_named_one_is_lost(bench: Bench) -> None:
    bench.consumer.waiting.extend([claimed_task("a", fence=1), claimed_task("a", fence=2)])
    bench.start()
    await until(lambda: bench.started == ["a", "a"])
    held = bench.worker._hand.held_now()
    bench.worker.leases.renewed(held, tq.Renewal(["a:1"], ["a:2"], False, False), 0)
    await until(lambda: not bench.worker._hand.slots)
    settled = [settlement for what, _ in bench.consumer.called("settle") for settlement in what]
    assert settled == ["Cancelled a"]
    assert [attempt.claimed.fence for attempt in held if attempt.settlement is not None] == [2]


async def test_large_results_leave_in_calls_that_get_through(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tq, "ENOUGH_BYTES", 3)  # each result has as many
    bench.add("a", "b", "c")
    bench.start()
    await until(lambda: bench.started == ["a", "b", "c"])
    gate = bench.consumer.gates["settle"] = asyncio.Event()
    bench.finish("a")
    await until(lambda: len(bench.consumer.called("settle")) == 2)
    bench.finish("b", "c")
    await asyncio.sleep(0.01)
    gate.set()
    await until(lambda: not bench.worker._hand.held)
    reported = [what for what, _ in bench.consumer.called("settle") if what]
    assert reported == [["Completed a"], ["Completed b"], ["Completed c"]]


async def test_lost_data_is_put_back_before_anything_else_is_sent(bench: Bench) -> None:
    bench.add("a", "b")
    bench.start()
    await until(lambda: bench.started == ["a", "b"])
    bench.consumer.failing = [tq.EpochChanged("two")]
    bench.finish("a")
    await until(lambda: len(bench.consumer.called("settle")) == 3)
    assert [sorted(ids) for ids in bench.consumer.restored] == [["a", "b"]]
    names = [name for name, _, _ in bench.consumer.calls if name in ("settle", "restore")]
    assert names == ["settle", "settle", "restore", "settle"]
    bench.worker.leases.forgotten("one")
    await asyncio.sleep(0.01)
    assert len(bench.consumer.restored) == 1, "what was put back is not put back again"
    bench.worker.leases.forgotten("two")
    await until(lambda: len(bench.consumer.restored) == 2)


async def test_a_task_told_to_be_lost_is_stopped_and_reports_nothing(bench: Bench) -> None:
    bench.add("a")
    bench.start()
    await until(lambda: bench.started == ["a"])
    held = bench.worker._hand.held_now()
    bench.worker.leases.renewed(held, tq.Renewal([held[0].claimed.hold], [], False, False), 0)
    await until(lambda: not bench.worker._hand.slots)
    assert await bench.end() == 0
    assert [what for what, _ in bench.consumer.called("settle")] == [[]]


@pytest.mark.parametrize("seen", [1, 2])
async def test_what_looked_lost_while_it_was_put_back_is_not(bench: Bench, seen: int) -> None:
    bench.add("a")
    bench.start()
    await until(lambda: bench.started == ["a"])
    held = bench.worker._hand.held_now()
    bench.worker.leases.renewed(held, tq.Renewal([held[0].claimed.hold], [], False, False), seen)
    await asyncio.sleep(0.01)
    assert bench.worker._hand.held_now() == held


async def test_a_draining_worker_waits_for_no_wake_ups(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.01)
    bench.consumer.draining = True
    bench.add("a")
    bench.start()
    await until(lambda: len(bench.consumer.called("claim")) > 2)
    assert bench.consumer.called("wait") == []
    assert bench.started == []
    bench.consumer.draining = False
    await until(lambda: bench.started == ["a"])


async def test_a_mark_found_by_the_renewal_ends_the_waiting(bench: Bench) -> None:
    bench.start()
    await until(lambda: bench.consumer.called("wait"))
    bench.consumer.draining = True
    bench.worker.leases.renewed([], tq.Renewal([], [], True, False), 0)
    await asyncio.sleep(0.02)
    assert bench.consumer.claiming == 0
    bench.consumer.draining = False
    bench.worker.leases.renewed([], tq.Renewal([], [], False, False), 0)
    await until(lambda: bench.consumer.claiming == 1)


async def test_a_fault_in_the_worker_itself_is_not_swallowed(bench: Bench) -> None:
    bench.consumer.wait_and_claim = None  # type: ignore[method-assign, assignment]
    bench.start()
    assert bench.task is not None
    with pytest.raises(TypeError):
        await bench.task


async def test_the_signs_of_life_follow_the_slots(bench: Bench) -> None:
    bench.add("a", "b", "c")
    bench.start()
    await until(lambda: len(bench.started) == 3)
    await asyncio.sleep(0.01)
    assert not bench.worker.signs().should_ask, "all slots are busy"
    bench.finish("a")
    await until(lambda: bench.consumer.claiming == 1)
    signs = bench.worker.signs()
    assert signs.should_ask
    assert signs.silent_seconds < 1
    assert signs.call == "wake-up"
    bench.worker.stop()
    assert not bench.worker.signs().should_ask, "it ends"

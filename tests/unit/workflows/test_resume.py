"""Parking, saving and going on: a run that was interrupted ends like one that was not."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.workflows import RunCompleted, RunParked, Runtime, StateError, Workflow, WorkflowError
from headrace.workflows.limits import RunLimits
from tests.unit.workflows.harness import START, Bench, Saved, define
from tests.unit.workflows.strategies import task_lists
from tests.unit.workflows.web import Answer, Web, json

TIMEOUT = "https://open-workflow-specification.org/spec/1.0.0/errors/timeout"
WAIT = [
    {"before": {"set": {"n": "${ .n }", "at": "${ now }"}}},
    {"pause": {"wait": {"seconds": 10}}},
    {
        "after": {
            "set": {"was": "${ . }", "at": "${ now }", "started": "${ $task.startedAt.iso8601 }"}
        }
    },
]
AFTER_WAIT = {
    "was": {"n": 1, "at": START.timestamp()},
    "at": START.timestamp() + 10,
    "started": "2026-01-02T03:04:15.000Z",
}


async def test_a_wait_parks_the_run_and_it_goes_on_where_it_was(bench: Bench) -> None:
    bench.can_park = True
    workflow = define(WAIT)
    parked = await bench.parked(workflow, {"n": 1})
    assert bench.unpark_at == START + timedelta(seconds=10)
    assert bench.slept == []
    assert bench.progress == [(33, "pause")]
    bench.clock += timedelta(seconds=10)
    assert await bench.execute(workflow, {"n": 1}, parked) == RunCompleted(AFTER_WAIT)


async def test_a_run_that_is_resumed_late_sees_the_time_of_that(bench: Bench) -> None:
    bench.can_park = True
    step = {"set": {"times": "${ .times + [now - 1767323045] }"}}
    pause = {"wait": {"seconds": 10}}
    workflow = define([{"a": step}, {"b": pause}, {"c": step}, {"d": pause}, {"e": step}])
    first = await bench.parked(workflow)
    bench.clock += timedelta(seconds=12)
    second = await bench.parked(workflow, {}, first)
    bench.clock += timedelta(seconds=13)
    outcome = await bench.execute(workflow, {}, second)
    assert outcome == RunCompleted({"times": [0, 12, 25]})


async def test_without_parking_a_wait_sleeps_in_place(bench: Bench) -> None:
    assert await bench.output(define(WAIT), {"n": 1}) == AFTER_WAIT
    assert bench.slept == [10]


async def test_a_run_that_is_resumed_early_waits_for_the_rest(bench: Bench) -> None:
    bench.can_park = True
    workflow = define(WAIT)
    parked = await bench.parked(workflow, {"n": 1})
    bench.clock += timedelta(seconds=4)
    again = await bench.parked(workflow, {"n": 1}, parked)
    assert (again, bench.unpark_at) == (parked, START + timedelta(seconds=10))
    # A clock that runs a little behind the one that woke the run.
    bench.clock = START + timedelta(seconds=9.95)
    assert await bench.execute(workflow, {"n": 1}, again) == RunCompleted(AFTER_WAIT)
    assert bench.slept == [pytest.approx(0.05)]


async def test_a_wait_that_has_begun_ends_when_it_would_have_after_a_crash(bench: Bench) -> None:
    """Not parked: its worker dies in the sleep, and the next one has the checkpoint."""
    workflow = define(WAIT)
    await bench.output(workflow, {"n": 1})
    (saved,) = bench.checkpoints
    bench.clock = START + timedelta(seconds=7)
    bench.slept.clear()
    assert await bench.execute(workflow, {"n": 1}, saved) == RunCompleted(AFTER_WAIT)
    assert bench.slept == [3]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [({"minutes": 1}, 60), ("PT1M0.5S", 60.5), ("${ .delay }", 90), ("${ {seconds: 5} }", 5)],
)
async def test_how_long_may_be_said_in_all_ways(
    bench: Bench, duration: Any, seconds: float
) -> None:
    bench.can_park = True
    await bench.parked(define([{"w": {"wait": duration}}]), {"delay": "PT1M30S"})
    assert bench.unpark_at == START + timedelta(seconds=seconds)


async def test_a_duration_that_is_none_is_an_error(bench: Bench) -> None:
    error = await bench.error(define([{"w": {"wait": "${ .delay }"}}]), {"delay": "soon"})
    assert "'soon' is not an ISO 8601 duration" in error.detail
    assert error.instance == "/do/0/w"


async def test_short_waits_hold_the_worker(bench: Bench) -> None:
    bench.can_park = True
    assert await bench.output(define([{"w": {"wait": {"milliseconds": 50}}}]), {"a": 1}) == {"a": 1}
    assert bench.slept == [0.05]


CALLS: list[dict[str, Any]] = [
    {"first": {"call": "http", "with": {"method": "post", "endpoint": '${ .url + "/first" }'}}},
    {
        "second": {
            "call": "http",
            "with": {"method": "get", "endpoint": '${ $workflow.input.url + "/second" }'},
        }
    },
    {"last": {"set": "${ [$context.url, ., now] }"}},
]


async def test_a_finished_call_is_not_made_again(bench: Bench, web: Web) -> None:
    web.routes = {"/first": json({"n": 1}), "/second": Answer(503)}
    workflow = define(CALLS)
    given = {"url": web.url}
    assert (await bench.error(workflow, given)).status == 503
    (saved,) = bench.checkpoints
    web.routes["/second"] = json({"n": 2})
    outcome = await bench.execute(workflow, given, saved)
    assert outcome == RunCompleted([web.url, {"n": 2}, START.timestamp()])
    assert [seen.path for seen in web.seen] == ["/first", "/second", "/second"]
    assert bench.progress == [(0, "first"), (33, "second"), (33, "second")]


@pytest.mark.parametrize("bulk", [0, 20_000], ids=["with a snapshot", "with entries alone"])
async def test_a_failed_call_that_was_caught_is_not_made_again(
    bench: Bench, web: Web, bulk: int
) -> None:
    """Neither after a park, nor after a crash that follows the next effect."""
    bench.can_park = True
    web.routes = {"/fails": json("no", 500), "/undo": json("undone")}
    fails, undo = (
        {"call": "http", "with": {"method": "post", "endpoint": f"{web.url}/{name}", "body": name}}
        for name in ("fails", "undo")
    )
    pause = {"wait": {"seconds": 10}}
    for handling in ([{"pause": pause}, {"undo": undo}], [{"undo": undo}, {"pause": pause}]):
        web.seen.clear()
        bench.checkpoints.clear()
        task = {"try": [{"fails": fails}], "catch": {"do": handling}}
        workflow, given = define([{"guarded": task}]), {"bulk": "x" * bulk}
        parked = await bench.parked(workflow, given)
        assert (parked.state is None) == (bulk > 0)
        for saved in (parked, *bench.checkpoints):
            outcome = await bench.execute(workflow, given, saved)
            while isinstance(outcome, RunParked):
                bench.clock += timedelta(seconds=10)
                outcome = await bench.execute(workflow, given, bench.saved)
        assert Counter(seen.path for seen in web.seen)["/fails"] == 1


async def test_a_call_in_a_loop_is_made_each_time_round(bench: Bench, web: Web) -> None:
    web.routes["/n"] = json(1)
    tasks = [
        {
            "call": {
                "call": "http",
                "with": {"method": "get", "endpoint": f"{web.url}/n"},
                "output": {"as": "$input + [.]"},
            }
        },
        {"again": {"set": "${ . }", "if": "length < 3", "then": "call"}},
    ]
    workflow = define(tasks)
    assert await bench.execute(workflow, []) == RunCompleted([1, 1, 1])
    assert len(web.seen) == len(bench.checkpoints) == 3
    assert await bench.execute(workflow, [], bench.checkpoints[1]) == RunCompleted([1, 1, 1])
    assert len(web.seen) == 4


async def test_what_a_checkpoint_raises_ends_the_attempt(bench: Bench, web: Web) -> None:
    class LeaseLost(Exception):
        pass

    async def lost(_saved: Saved) -> None:
        raise LeaseLost

    web.routes["/first"] = json(1)
    bench.on_checkpoint = lost
    with pytest.raises(LeaseLost):
        await bench.execute(define(CALLS), {"url": web.url})
    assert len(web.seen) == 1


async def test_state_of_another_definition_is_refused(bench: Bench) -> None:
    bench.can_park = True
    parked = await bench.parked(define(WAIT), {"n": 1})
    with pytest.raises(StateError, match="another definition"):
        await bench.execute(define(WAIT[1:]), {"n": 1}, parked)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (b'{"version": 3, "new": true}', "saved as version 3"),
        (b"no json", "cannot be read"),
        (b"{}", "cannot be read"),
    ],
)
async def test_state_that_cannot_be_read_is_refused(
    bench: Bench, state: bytes, reason: str
) -> None:
    with pytest.raises(StateError, match=reason):
        await bench.execute(define(WAIT), {}, Saved(state))


async def test_a_journal_that_grows_too_large_is_an_error(bench: Bench, web: Web) -> None:
    bench.limits = RunLimits(max_journal_bytes=1000)
    web.routes["/first"] = json("x" * 1000)
    guarded = {"try": CALLS, "catch": {}}  # what was done is in the journal: no way back
    error = await bench.error(define([{"all": guarded}]), {"url": web.url})
    assert "over the limit of 1000 (WORKFLOW_MAX_JOURNAL_BYTES)" in error.detail
    assert not error.retryable


# Time-outs


async def test_a_wait_longer_than_its_timeout_fails_when_that_is_over(bench: Bench) -> None:
    bench.can_park = True
    workflow = define([{"w": {"wait": {"seconds": 60}, "timeout": {"after": {"seconds": 5}}}}])
    parked = await bench.parked(workflow)
    assert bench.unpark_at == START + timedelta(seconds=5)
    bench.clock += timedelta(seconds=5)
    with pytest.raises(WorkflowError) as caught:
        await bench.execute(workflow, {}, parked)
    assert (caught.value.type, caught.value.status) == (TIMEOUT, 408)
    assert caught.value.instance == "/do/0/w"


async def test_the_tightest_of_the_timeouts_counts(bench: Bench) -> None:
    inner = {"w": {"wait": {"seconds": 60}, "timeout": {"after": {"seconds": 30}}}}
    group = {"do": [inner], "timeout": {"after": {"seconds": 20}}}
    workflow = define(
        [{"group": group}], timeout="all", use={"timeouts": {"all": {"after": "PT10S"}}}
    )
    error = await bench.error(workflow)
    assert (error.type, error.instance) == (TIMEOUT, "/")
    assert bench.slept == [10]


async def test_a_timeout_over_several_tasks_counts_on_while_the_run_is_parked(
    bench: Bench, web: Web
) -> None:
    bench.can_park = True
    inner = [
        {"w": {"wait": {"seconds": 3}}},
        {"a": {"set": "${ . }"}},
        {"c": {"call": "http", "with": {"method": "get", "endpoint": f"{web.url}/"}}},
    ]
    workflow = define([{"group": {"do": inner, "timeout": {"after": {"seconds": 5}}}}])
    parked = await bench.parked(workflow)
    bench.clock += timedelta(seconds=9)  # no worker was free for six seconds
    with pytest.raises(WorkflowError) as caught:
        await bench.execute(workflow, {}, parked)
    assert (caught.value.type, caught.value.instance) == (TIMEOUT, "/do/0/group")
    assert web.seen == []


async def test_a_group_that_ended_in_time_is_not_late_when_it_is_computed_again(
    bench: Bench,
) -> None:
    bench.can_park = True
    group = {
        "do": [{"w": {"wait": {"seconds": 3}}}, {"a": {"set": {"x": 1}}}],
        "timeout": {"after": {"seconds": 5}},
    }
    workflow = define([{"group": group}, {"long": {"wait": {"hours": 1}}}])
    first = await bench.parked(workflow)
    bench.clock += timedelta(seconds=3)
    second = await bench.parked(workflow, {}, first)
    bench.clock += timedelta(hours=2)
    assert await bench.execute(workflow, {}, second) == RunCompleted({"x": 1})


async def test_a_call_is_cut_off_by_its_timeout(bench: Bench, web: Web) -> None:
    web.routes["/"] = Answer(hang=True)
    call = {"call": "http", "with": {"method": "get", "endpoint": f"{web.url}/"}}
    workflow = define([{"c": call | {"timeout": {"after": {"milliseconds": 100}}}}])
    error = await bench.error(workflow)
    assert (error.type, error.instance) == (TIMEOUT, "/do/0/c")
    assert "0.1 s" in error.detail
    assert bench.checkpoints == []


async def test_a_call_that_is_tried_again_has_its_whole_timeout_again(
    bench: Bench, web: Web
) -> None:
    """The attempt failed, the queue tries again later, and the earlier call is not made again."""
    web.routes = {"/first": json(1), "/second": Answer(hang=True)}
    second = CALLS[1]["second"] | {"timeout": {"after": {"milliseconds": 200}}}
    workflow = define([CALLS[0], {"second": second}])
    given = {"url": web.url}
    assert (await bench.error(workflow, given)).instance == "/do/1/second"
    web.routes["/second"] = json(2)
    bench.clock += timedelta(minutes=1)
    assert await bench.execute(workflow, given, bench.checkpoints[-1]) == RunCompleted(2)


# Any definition, interrupted anywhere


class _Crash(Exception):
    """The worker dies."""


class _World:
    """Answers calls, moves the clock, and lets the worker die at a chosen moment."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.made: list[str] = []
        transport = httpx2.MockTransport(self._answer)
        self.runtime = runner.run(_make_runtime(transport))
        self.bench: Bench = Bench(self.runtime)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.made.append(request.url.params["ref"])
        self.bench.clock += timedelta(seconds=1)
        digest = hashlib.sha256(request.content).hexdigest()
        return httpx2.Response(200, json={"n": len(self.made), "sent": digest})

    def execute(self, workflow: Workflow, given: Any, saved: Saved | None = None) -> Any:
        """The outcome of one attempt; a failed run's is its error."""
        try:
            return self.runner.run(self.bench.execute(workflow, given, saved))
        except WorkflowError as error:
            return error.as_dict()

    def uninterrupted(
        self, tasks: Any, given: Any
    ) -> tuple[Any, list[str], list[tuple[Saved, int, datetime]]]:
        """The outcome, the calls, and each thing stored, after how many calls, and when."""
        bench = self.bench = Bench(self.runtime)
        self.made.clear()
        stored = []

        async def checkpoint(saved: Saved) -> None:
            stored.append((saved, len(self.made), bench.clock))

        bench.on_checkpoint = checkpoint
        outcome = self.execute(define(tasks), given)
        return outcome, list(self.made), stored

    def interrupted(self, tasks: Any, given: Any, crashes: set[int]) -> tuple[Any, list[str]]:
        """Run with parking, where the checkpoints of these numbers are the attempt's last act."""
        bench = self.bench = Bench(self.runtime, can_park=True)
        self.made.clear()
        workflow = define(tasks)
        count = 0

        async def checkpoint(_saved: Saved) -> None:
            nonlocal count
            count += 1
            if count in crashes:
                raise _Crash

        bench.on_checkpoint = checkpoint
        while True:
            try:
                outcome = self.execute(workflow, given, bench.saved)
            except _Crash:
                continue
            if not isinstance(outcome, RunParked):
                return outcome, list(self.made)
            assert outcome.unpark_at is not None
            bench.clock = max(bench.clock, outcome.unpark_at)


async def _make_runtime(transport: httpx2.AsyncBaseTransport) -> Runtime:
    return Runtime(transport=transport)


@pytest.fixture(scope="module")
def world() -> Iterator[_World]:
    with asyncio.Runner() as runner:
        world = _World(runner)
        yield world
        runner.run(world.runtime.close())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(task_lists, st.sets(st.integers(1, 6)))
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    world: _World, tasks: Any, crashes: set[int]
) -> None:
    given_input = {"n": 3}
    expected = world.uninterrupted(tasks, given_input)
    outcome, made = world.interrupted(tasks, given_input, crashes)
    assert outcome == expected[0]
    assert made == expected[1]


@settings(max_examples=30, deadline=None)
@given(task_lists)
def test_a_run_can_go_on_from_each_of_its_checkpoints(world: _World, tasks: Any) -> None:
    expected, made, stored = world.uninterrupted(tasks, {"n": 3})
    for saved, calls, clock in stored:
        # The moment of that checkpoint: what comes after it happens at the same times again.
        world.bench = Bench(world.runtime, clock=clock)
        world.made[:] = made[:calls]
        assert world.execute(define(tasks), {"n": 3}, saved) == expected
        assert world.made == made

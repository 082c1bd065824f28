"""`fork` (DSL reference, "Fork"), and rounds of `for` at once: each branch is on its own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from headrace.workflows import (
    DefinitionError,
    Environment,
    RunCompleted,
    Runtime,
    WorkflowError,
    execute,
)
from headrace.workflows.limits import RunLimits
from tests.unit.workflows.harness import RUN_ID, START, Bench, define
from tests.unit.workflows.web import Web, json


def fork(*branches: dict[str, Any], compete: Any = False, **more: Any) -> dict[str, Any]:
    """A `fork` task of these branches, named a, b, c and so on."""
    named = [{"abcdefgh"[place]: task} for place, task in enumerate(branches)]
    return {"fork": {"branches": named, "compete": compete}, **more}


def parallel(at_once: int, *steps: dict[str, Any], of: Any = "${ .items }") -> dict[str, Any]:
    """A `for` whose rounds run at once."""
    metadata = {"headrace": {"parallel": at_once}}
    named = [{f"step{place}": step} for place, step in enumerate(steps)]
    return {"for": {"in": of}, "do": named, "metadata": metadata}


def wait(seconds: int) -> dict[str, Any]:
    return {"wait": {"seconds": seconds}}


def group(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"do": [{f"step{place}": step} for place, step in enumerate(steps)]}


def failing(name: str) -> dict[str, Any]:
    return {"raise": {"error": {"type": f"https://example.com/{name}", "status": 400}}}


NOW = {"set": "${ now - 1767323045 }"}


async def test_the_output_is_the_list_of_the_outputs_in_their_order(bench: Bench) -> None:
    task = fork(group(wait(2), {"set": {"x": 1}}), {"set": {"x": "${ .n }"}})
    assert await bench.output(define([{"f": task}]), {"n": 7}) == [{"x": 1}, {"x": 7}]


async def test_branches_wait_at_the_same_time_and_each_has_its_own(bench: Bench) -> None:
    task = fork(group(wait(20), NOW), group(wait(10), NOW), NOW)
    assert await bench.output(define([{"f": task}, {"last": {"set": "${ [., now] }"}}])) == [
        [20, 10, 0],
        START.timestamp() + 20,
    ]
    assert bench.slept == [10, 10]


async def test_a_run_parks_until_the_earliest_of_its_branches_goes_on(bench: Bench) -> None:
    bench.can_park = True
    workflow = define([{"f": fork(group(wait(20), NOW), group(wait(10), NOW, wait(30)))}])
    outcome, parks = await bench.execute(workflow), []
    while not isinstance(outcome, RunCompleted):
        assert outcome.unpark_at is not None
        parks.append((outcome.unpark_at - START).total_seconds())
        bench.clock = outcome.unpark_at
        outcome = await bench.execute(workflow, {}, bench.saved)
    assert (outcome.output, parks) == ([20, 10], [10, 20, 40])


async def test_a_wait_after_a_race_ends_also_where_the_loser_waited_for_less(
    runtime: Runtime,
) -> None:
    """In real time, and in place: the loser's timer is still set when the last wait begins."""
    waits = [{"wait": {"milliseconds": each}} for each in (40, 20)]
    workflow = define([{"race": fork(*waits, compete=True)}, {"last": {"wait": "PT0.06S"}}])
    environment = Environment(runtime=runtime, run_id=RUN_ID)
    async with asyncio.timeout(5):
        assert await execute(workflow, {}, environment=environment) == RunCompleted({})


async def test_a_branch_at_work_lets_others_go_on_but_not_the_run_park(runtime: Runtime) -> None:
    released = asyncio.Event()
    bench = Bench(runtime, can_park=True)

    async def answer(_request: httpx2.Request) -> httpx2.Response:
        await released.wait()
        return httpx2.Response(200, json="answer")

    async def sleep(seconds: float) -> None:
        bench.slept.append(seconds)
        bench.clock += timedelta(seconds=seconds)
        released.set()

    bench.runtime = Runtime(transport=httpx2.MockTransport(answer))
    bench._sleep = sleep  # type: ignore[method-assign]
    call = {"call": "http", "with": {"method": "get", "endpoint": "http://slow.example"}}
    outcome = await bench.execute(define([{"f": fork(call, group(wait(5), NOW))}]))
    await bench.runtime.close()
    assert outcome == RunCompleted(["answer", 5])
    assert bench.slept == [5]


async def test_each_branch_begins_with_the_context_and_the_join_applies_what_each_changed(
    bench: Bench,
) -> None:
    def export(expression: str, seconds: int) -> dict[str, Any]:
        return group(wait(seconds), {"set": "${ $context }", "export": {"as": expression}})

    task = fork(export("$context + {a: 1, both: 1}", 5), export("$context + {b: 2, both: 2}", 1))
    workflow = define([{"f": task}, {"last": {"set": "${ [., $context] }"}}])
    before = {"n": 0}
    assert await bench.output(workflow, before) == [
        [before, before],
        {"n": 0, "a": 1, "b": 2, "both": 2},
    ]


async def test_when_a_branch_fails_the_others_are_cancelled_and_its_error_is_the_forks(
    bench: Bench, web: Web
) -> None:
    bench.can_park = True
    call = {"call": "http", "with": {"method": "get", "endpoint": f"{web.url}/"}}
    task = fork(group(wait(60), call), group(wait(5), failing("b")))
    workflow = define([{"f": task}])
    await bench.parked(workflow)
    bench.clock += timedelta(seconds=5)
    with pytest.raises(WorkflowError) as caught:
        await bench.execute(workflow, {}, bench.saved)
    assert caught.value.type == "https://example.com/b"
    assert caught.value.instance == "/do/0/f/fork/branches/1/b/do/1/step1"
    assert web.seen == []


async def test_the_first_to_complete_wins_and_the_losers_calls_are_cut_off(
    runtime: Runtime,
) -> None:
    cut_off = asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/slow":
            try:
                await asyncio.sleep(60)
            finally:
                cut_off.set()
        return httpx2.Response(200, json=request.url.path)

    bench = Bench(Runtime(transport=httpx2.MockTransport(answer)))
    slow, fast = (
        {"call": "http", "with": {"method": "get", "endpoint": f"http://race.example/{name}"}}
        for name in ("slow", "fast")
    )
    task = fork(slow, failing("early"), fast, compete=True)
    assert await bench.output(define([{"f": task}])) == "/fast"
    await bench.runtime.close()
    assert cut_off.is_set()


async def test_a_run_that_is_cancelled_cuts_off_the_calls_of_all_its_branches() -> None:
    under_way, cut_off = asyncio.Semaphore(0), []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        under_way.release()
        try:
            await asyncio.sleep(60)
        finally:
            cut_off.append(request.url.path)
        raise AssertionError

    bench = Bench(Runtime(transport=httpx2.MockTransport(answer)), can_park=True)
    a, b = (
        {"call": "http", "with": {"method": "get", "endpoint": f"http://slow.example/{name}"}}
        for name in "ab"
    )
    run = asyncio.create_task(bench.execute(define([{"f": fork(a, group(b), wait(60))}])))
    await under_way.acquire()
    await under_way.acquire()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await bench.runtime.close()
    assert sorted(cut_off) == ["/a", "/b"]


async def test_a_race_fails_only_when_all_have_failed(bench: Bench) -> None:
    task = fork(group(wait(1), failing("a")), failing("b"), compete=True)
    assert (await bench.error(define([{"f": task}]))).type == "https://example.com/a"


async def test_a_race_is_not_decided_again(bench: Bench, web: Web) -> None:
    """The winner is an entry: what comes after it was done for it."""
    web.routes["/after"] = json("done")
    call = {"call": "http", "with": {"method": "post", "endpoint": f"{web.url}/after", "body": "x"}}
    late, early = (
        group(wait(seconds), {"set": {"who": name}})
        for seconds, name in ((2, "late"), (1, "early"))
    )
    task = fork(late, early, compete=True, export={"as": "."})
    workflow = define([{"f": task}, {"after": call}, {"who": {"set": "${ $context }"}}])
    outcome = await bench.execute(workflow)
    bench.clock += timedelta(minutes=1)  # by now both branches would be over at once
    assert await bench.execute(workflow, {}, bench.checkpoints[-1]) == outcome
    assert outcome == RunCompleted({"who": "early"})
    assert len(web.seen) == 1


async def test_a_branch_that_has_lost_a_race_by_an_error_is_not_performed_again(
    bench: Bench, web: Web
) -> None:
    """Also where the run stores no snapshot, which its data would make too long."""
    bench.can_park = True
    calls = {
        name: {"call": "http", "with": {"method": "get", "endpoint": f"{web.url}/{name}"}}
        for name in ("lost", "first", "last")
    }
    web.routes = {"/lost": json("no", 500), "/first": json(1), "/last": json(2)}
    task = fork(calls["lost"], group(wait(1), calls["first"], wait(10), calls["last"]))
    task["fork"]["compete"] = True
    workflow, given = define([{"f": task}]), {"large": "x" * 20_000}
    outcome = await bench.execute(workflow, given)
    while not isinstance(outcome, RunCompleted):
        assert bench.saved.state is None
        assert outcome.unpark_at is not None
        bench.clock = outcome.unpark_at
        outcome = await bench.execute(workflow, given, bench.saved)
    assert outcome.output == 2
    assert [seen.path for seen in web.seen] == ["/lost", "/first", "/last"]


@pytest.mark.parametrize("then", ["exit", "end"])
async def test_then_never_leaves_a_branch(bench: Bench, then: str) -> None:
    leaving = group({"set": {"x": 1}, "if": ".n", "then": then}, {"set": {"x": 2}})
    workflow = define([{"f": fork(leaving, {"set": {"y": 1}})}, {"after": {"set": "${ . }"}}])
    assert await bench.output(workflow, {"n": 1}) == [{"x": 1}, {"y": 1}]


async def test_branches_within_branches(bench: Bench) -> None:
    bench.can_park = True
    inner = fork(group(wait(3), NOW), group(wait(1), NOW))
    workflow = define([{"f": fork(inner, parallel(2, wait(2), NOW, of="[1, 2, 3]"))}])
    outcome = await bench.execute(workflow)
    while not isinstance(outcome, RunCompleted):
        assert outcome.unpark_at is not None
        bench.clock = outcome.unpark_at
        outcome = await bench.execute(workflow, {}, bench.saved)
    assert outcome.output == [[3, 1], [2, 2, 4]]


async def test_rounds_run_so_many_at_once_each_with_the_loops_input(bench: Bench) -> None:
    steps = [wait(10), {"set": "${ [$item, $index, .n, now - 1767323045] }"}]
    workflow = define([{"loop": parallel(2, *steps)}])
    assert await bench.output(workflow, {"items": ["a", "b", "c"], "n": 4}) == [
        ["a", 0, 4, 10],
        ["b", 1, 4, 10],
        ["c", 2, 4, 20],
    ]


async def test_rounds_at_once_over_no_item_give_an_empty_list(bench: Bench) -> None:
    assert await bench.output(define([{"loop": parallel(2, NOW)}]), {"items": []}) == []


async def test_too_many_branches_are_an_error_that_names_the_setting(bench: Bench) -> None:
    bench.limits = RunLimits(max_items=20_000)
    error = await bench.error(define([{"loop": parallel(10_000, NOW, of="[range(10000)]")}]))
    assert error.detail == (
        "10000 branches are to run at once, over the limit of 1000 (WORKFLOW_MAX_BRANCHES): "
        "let fewer run at once"
    )
    assert not error.retryable


async def test_a_fork_may_have_as_many_branches_as_the_limit_says(bench: Bench) -> None:
    bench.limits = RunLimits(max_branches=3)
    three, four = (define([{"f": fork(*[{"set": {"x": 1}}] * count)}]) for count in (3, 4))
    assert await bench.output(three) == [{"x": 1}] * 3
    error = await bench.error(four)
    assert "4 branches are to run at once, over the limit of 3" in error.detail
    assert "WORKFLOW_MAX_BRANCHES" in error.detail
    assert error.instance == "/do/0/f"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"fork": {}}, "`branches` is missing in `fork`"),
        (fork(), "`branches` holds no task"),
        (fork({"set": {"a": 1}}, compete="yes"), "`compete` must be true or false"),
        (fork({"set": {"a": 1}, "then": "b"}, {"set": {"a": 1}}), "`then` names 'b'"),
        (parallel(0, NOW), "`parallel` must be a whole number from 1"),
        (parallel(2, NOW) | {"while": "true"}, "remove `while`, or `parallel`"),
        (
            parallel(2, NOW) | {"metadata": {"headrace": {"paralel": 2}}},
            "unknown key 'paralel' in `headrace`. Did you mean 'parallel'?",
        ),
    ],
)
def test_what_is_wrong_is_refused(task: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define([{"f": task}])
    assert reason in str([str(fault) for fault in (caught.value, *caught.value.others)])

"""Runs that are killed: after each write in turn, at any write, and in the midst of an effect."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.workflows import RunCompleted, RunParked, Runtime, Workflow, WorkflowError
from headrace.workflows.model import ChildEnd, ChildRun, ChildTask
from tests.unit.workflows.harness import Bench, Saved, define

ENDPOINT = "http://calls.example/"
CHILD_SECONDS = 40


class Crash(BaseException):
    """The worker dies."""


class World:
    """Answers calls and runs children. Each effect has a key, and is counted by it.

    What a call gives does not depend on when it is made, nor on what was made before.
    """

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.effects: Counter[str] = Counter()
        self.ends: dict[str, tuple[float, ChildEnd]] = {}
        self.cancelled: set[str] = set()
        self.runtime = runner.run(_make_runtime(httpx2.MockTransport(self._answer)))
        self.bench = Bench(self.runtime)
        self.writes = 0
        self.crash_at: set[int] = set()
        self.crash_in: int | None = None

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.effects[request.headers["idempotency-key"]] += 1
        if sum(self.effects.values()) == self.crash_in:
            raise Crash
        if b"fail" in request.content:
            return httpx2.Response(500)
        digest = hashlib.sha256(request.content).hexdigest()
        return httpx2.Response(200, json={"sent": digest[:8]})

    async def start(self, child_id: str, task: ChildTask | ChildRun) -> ChildEnd | None:
        """See `Children`."""
        now = self.bench.clock.timestamp()
        if child_id not in self.ends:
            self.effects[child_id] += 1
            if isinstance(task, ChildRun):
                end = ChildEnd("completed", {"variables": {"run": hash_of(task.variables)}})
            else:
                end = ChildEnd("completed", {"child": hash_of(task.payload)})
            self.ends[child_id] = now + CHILD_SECONDS, end
        at, end = self.ends[child_id]
        return end if now >= at else None

    async def cancel(self, child_id: str) -> None:
        """See `Children`."""
        self.cancelled.add(child_id)

    def run(self, workflow: Workflow, *, crash_at: set[int], crash_in: int | None = None) -> Any:
        """The outcome of a run, over all parks and crashes; `writes` says how often it stored."""
        self.effects.clear()
        self.ends.clear()
        self.cancelled.clear()
        self.writes, self.crash_at, self.crash_in = 0, crash_at, crash_in
        bench = self.bench = Bench(self.runtime, can_park=True, children=self)
        bench.on_checkpoint = self._stored
        saved = Saved()
        for _ in range(1000):
            try:
                outcome = self.runner.run(bench.execute(workflow, {"n": 3}, saved))
            except WorkflowError as error:
                return error.as_dict()
            except Crash:
                saved = bench.saved
                continue
            if isinstance(outcome, RunCompleted):
                return outcome.output
            saved = self._parked(outcome)
        raise AssertionError("the run does not end")

    async def _stored(self, _saved: Saved) -> None:
        self.writes += 1
        if self.writes in self.crash_at:
            raise Crash

    def _parked(self, outcome: RunParked) -> Saved:
        bench = self.bench
        later = [outcome.unpark_at] if outcome.unpark_at is not None else []
        if outcome.wakes:
            now = bench.clock.timestamp()
            ends = [at - now for at, _ in self.ends.values() if at > now]
            later += [bench.clock + timedelta(seconds=min(ends))] if ends else []
        assert later, "nothing would let the run go on"
        bench.clock = max(bench.clock, min(later))
        return bench.saved


def hash_of(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:8]


async def _make_runtime(transport: httpx2.AsyncBaseTransport) -> Runtime:
    return Runtime(transport=transport)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with asyncio.Runner() as runner:
        world = World(runner)
        yield world
        runner.run(world.runtime.close())


def call(body: Any = None) -> dict[str, Any]:
    content = {"at": "${ $task.reference }", "data": "${ . }", "more": body}
    return {"call": "http", "with": {"method": "post", "endpoint": ENDPOINT, "body": content}}


CHILD: dict[str, Any] = {"call": "resize"}
RUN: dict[str, Any] = {
    "run": {"workflow": {"namespace": "test", "name": "other", "version": "latest"}}
}
NESTED: list[dict[str, Any]] = [
    {"before": call()},
    {
        "guarded": {
            "try": [
                {
                    "both": {
                        "fork": {
                            "branches": [
                                {
                                    "loop": {
                                        "for": {"in": "[1, 2]"},
                                        "do": [
                                            {"pause": {"wait": {"seconds": 30}}},
                                            {"call": call("${ $item }")},
                                            {"child": CHILD},
                                        ],
                                    }
                                },
                                {
                                    "other": {
                                        "for": {"in": "[1, 2, 3]"},
                                        "metadata": {"headrace": {"parallel": 2}},
                                        "do": [{"call": call("${ $index }")}, {"run": RUN}],
                                    }
                                },
                            ]
                        },
                        "export": {"as": "{both: .}"},
                    }
                },
                {"fails": call("fail")},
            ],
            "catch": {
                "retry": {"delay": {"seconds": 5}, "limit": {"attempt": {"count": 1}}},
                "do": [{"undo": call("${ $error.status }")}],
            },
        }
    },
    {"last": {"set": "${ [., $context] }"}},
]


def test_a_run_that_is_killed_after_any_of_its_writes_ends_the_same(world: World) -> None:
    """Wait, call, child and run, in `for` in `fork` in `try`."""
    workflow = define(NESTED)
    expected = world.run(workflow, crash_at=set())
    effects, writes = dict(world.effects), world.writes
    # Before it, two attempts, each with 5 calls, 5 children and one that fails, and the undo.
    assert len(effects) == 1 + 2 * 11 + 1
    assert set(effects.values()) == {1}
    assert writes >= 20
    for write in range(1, writes + 1):
        assert world.run(workflow, crash_at={write}) == expected, write
        assert world.effects == effects, write
    assert world.run(workflow, crash_at=set(range(1, 200))) == expected
    assert world.effects == effects


def test_a_kill_in_the_midst_of_an_effect_repeats_it_alone_with_the_same_key(world: World) -> None:
    workflow = define(NESTED)
    expected = world.run(workflow, crash_at=set())
    effects = dict(world.effects)
    for number in range(1, 14):
        assert world.run(workflow, crash_at=set(), crash_in=number) == expected
        assert world.effects.keys() == effects.keys()
        twice = [key for key, count in world.effects.items() if count > 1]
        assert len(twice) <= 2  # what the other branch had under way is cut off, too


def test_who_won_is_stored_before_what_follows_the_race(world: World) -> None:
    branches = [{"a": {"wait": {"seconds": 1}}}, {"b": CHILD}]
    workflow = define([{"race": {"fork": {"compete": True, "branches": branches}}}, {"do": call()}])
    stored = []

    async def follow(saved: Saved) -> None:
        stored.append((sum(world.effects.values()), [b'"join"' in each for each in saved.journal]))

    bench = world.bench = Bench(world.runtime, can_park=True, children=world)
    world.effects.clear()
    world.ends.clear()
    saved = world.runner.run(bench.parked(workflow))
    bench.clock += timedelta(seconds=1)
    bench.on_checkpoint = follow
    assert isinstance(world.runner.run(bench.execute(workflow, {}, saved)), RunCompleted)
    # The child has been started, and the call has not been made.
    assert any(effects == 1 and any(joins) for effects, joins in stored), stored


def test_the_losers_children_are_cancelled(world: World) -> None:
    quick = {"do": [{"pause": {"wait": {"seconds": 1}}}, {"done": {"set": {"won": True}}}]}
    branches = [{"slow": CHILD}, {"quick": quick}]
    workflow = define([{"race": {"fork": {"compete": True, "branches": branches}}}])
    assert world.run(workflow, crash_at=set()) == {"won": True}
    assert world.cancelled == set(world.ends)
    assert len(world.ends) == 1


def test_a_child_is_cancelled_when_its_steps_time_is_over(world: World) -> None:
    task = CHILD | {"timeout": {"after": {"seconds": 3}}}
    error = world.run(define([{"child": task}]), crash_at=set())
    assert (error["status"], error["instance"]) == (408, "/do/0/child")
    assert world.cancelled == set(world.ends)


# Any definition of these, killed anywhere

_leaves = st.one_of(
    st.builds(call, st.sampled_from(["a", "b", "fail", "${ .n }"])),
    st.integers(1, 60).map(lambda seconds: {"wait": {"seconds": seconds}}),
    st.sampled_from([CHILD, RUN]),
    st.sampled_from(["${ {n: .} }", "${ {n: (.n // 0)} }"]).map(lambda text: {"set": text}),
).flatmap(
    lambda task: st.sampled_from(
        [{}, {}, {"export": {"as": "{last: ., was: ($context | tostring | .[0:40])}"}}]
    ).map(lambda common: task | common)
)


def _named(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{f"step{place}": task} for place, task in enumerate(tasks)]


def _compounds(inner: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[Any]:
    group = inner.map(lambda steps: {"do": _named(steps)})
    loop = st.builds(
        lambda steps, more: {"for": {"in": "[1, 2]"}, "do": _named(steps)} | more,
        inner,
        st.sampled_from([{}, {"metadata": {"headrace": {"parallel": 2}}}]),
    )
    fork = st.lists(inner, min_size=1, max_size=3).map(
        lambda branches: {"fork": {"branches": _named([{"do": _named(b)} for b in branches])}}
    )
    guarded = st.builds(
        lambda steps, undo, retry: {
            "try": _named(steps),
            "catch": {"do": _named(undo)} | retry,
        },
        inner,
        inner,
        st.sampled_from(
            [{}, {"retry": {"delay": {"seconds": 3}, "limit": {"attempt": {"count": 1}}}}]
        ),
    )
    compound = st.one_of(group, loop, fork, guarded)
    return st.builds(lambda a, b, c: [*a, b, *c], inner, compound, st.lists(_leaves, max_size=1))


_tasks = st.recursive(st.lists(_leaves, min_size=1, max_size=2), _compounds, max_leaves=4).map(
    _named
)


@settings(max_examples=60, deadline=None)
@given(_tasks, st.sets(st.integers(1, 12), max_size=6))
def test_any_run_that_is_killed_anywhere_does_each_effect_once_and_ends_the_same(
    world: World, tasks: Any, crashes: set[int]
) -> None:
    workflow = define(tasks)
    expected = world.run(workflow, crash_at=set())
    effects = dict(world.effects)
    failed = isinstance(expected, dict) and "status" in expected
    assert world.run(workflow, crash_at=crashes) == expected
    if not failed:  # else it depends on how far the other branches had come
        assert world.effects == effects
    assert set(world.effects.values()) <= {1}


@pytest.mark.parametrize(
    "rounds", [1000, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_a_park_costs_the_same_however_many_there_were(world: World, rounds: int) -> None:
    """Nothing is computed again but the steps since the last snapshot, and no state grows."""
    poll = {
        "do": [
            {"pause": {"wait": {"seconds": 30}}},
            {"count": {"set": {"n": "${ .n }"}}},
        ]
    }
    # Ten thousand items, of which the first thousand are enough to see it.
    loop = {"for": {"in": "[range(10000)]"}, "while": f"$index < {rounds}", **poll}
    workflow = define([{"loop": loop}])
    bench = world.bench = Bench(world.runtime, can_park=True)
    steps, sizes, saved = [], [], Saved()
    outcome: RunCompleted | RunParked | None = None
    while not isinstance(outcome, RunCompleted):
        bench.steps.clear()
        outcome = world.runner.run(bench.execute(workflow, {"n": 3}, saved))
        steps.append(len(bench.steps))
        if isinstance(outcome, RunParked):
            assert outcome.state is not None
            assert outcome.unpark_at is not None
            sizes.append(len(outcome.state))
            bench.clock, saved = outcome.unpark_at, bench.saved
    assert len(steps) == rounds + 1
    # The loop and its wait go on; then the rest of the round, and the next one's wait.
    assert set(steps[1:-1]) == {4}
    assert max(sizes) - min(sizes) < 100

"""The example workflows do what their comments say."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.workflows import Catalog, ChildEnd, ChildRun, ChildTask, RunCompleted
from tests.unit.workflows import web as answers
from tests.unit.workflows.harness import START, Bench
from tests.unit.workflows.web import Answer, Web

FOLDER = Path(__file__).parents[3] / "examples" / "workflows"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(FOLDER)


def test_all_examples_can_be_loaded(catalog: Catalog) -> None:
    assert catalog.errors == []
    assert {path.stem for path in FOLDER.iterdir()} == set(catalog.workflows)


def variables_of(name: str) -> Any:
    """What the command in an example's comment sends."""
    text = (FOLDER / f"{name}.yaml").read_text("utf-8").partition("document:")[0]
    [body] = re.findall(r"-d '(.*)'$", text, re.MULTILINE)
    assert f"/api/workflows/{name}/execute" in text
    return json.loads(body)["variables"]


async def test_hello_greets(catalog: Catalog, bench: Bench) -> None:
    hello = catalog.workflows["hello"]
    assert await bench.output(hello, {"name": "Ada"}) == {
        "greeting": "Hello, Ada!",
        "greetedAt": "2026-01-02T03:04:05.000Z",
    }
    assert (await bench.output(hello))["greeting"] == "Hello, world!"


async def test_my_workflow_gives_its_parameter_back(catalog: Catalog, bench: Bench) -> None:
    flow = catalog.workflows["my-workflow"]
    assert await bench.output(flow, {"param1": "value1"}) == {
        "param1": "value1",
        "received": "param1 is value1",
    }
    assert await bench.output(flow) == {"param1": None, "received": "no param1 was given"}


async def test_wait_and_greet_waits_ten_seconds(catalog: Catalog, bench: Bench) -> None:
    bench.can_park = True
    flow = catalog.workflows["wait-and-greet"]
    parked = await bench.parked(flow, {"name": "Ada"})
    assert bench.unpark_at == START + timedelta(seconds=10)
    bench.clock = bench.unpark_at
    outcome = await bench.execute(flow, {"name": "Ada"}, parked)
    assert outcome == RunCompleted({"greeting": "Hello, Ada, thank you for waiting."})


async def test_fetch_returns_what_was_answered(catalog: Catalog, bench: Bench, web: Web) -> None:
    web.routes = {
        "/": Answer(302, headers=(("Location", "/page"),)),
        "/page": Answer(200, b"hi", "text/plain"),
    }
    bench.clock = START
    assert await bench.output(catalog.workflows["fetch"], {"url": f"{web.url}/"}) == {
        "url": f"{web.url}/page",
        "status": 200,
        "type": "text/plain",
        "content": "hi",
    }


async def test_restock_finds_what_is_missing(catalog: Catalog, bench: Bench) -> None:
    flow = catalog.workflows["restock"]
    lines = [
        {"article": "tea", "wanted": 5, "stock": 2},
        {"article": "milk", "wanted": 1, "stock": 4},
        {"article": "sugar", "wanted": 2, "stock": 0},
    ]
    missing = [{"article": "tea", "count": 3}, {"article": "sugar", "count": 2}]
    assert await bench.output(flow, {"lines": lines}) == {"order": missing}
    assert await bench.output(flow, {}) == {"order": []}
    error = await bench.error(flow, {"lines": lines * 50})
    assert (error.status, error.detail) == (422, "150 lines, at most 100 are taken")


async def test_order_takes_back_what_was_done_before_the_error(
    catalog: Catalog, bench: Bench
) -> None:
    flow, variables = catalog.workflows["order"], variables_of("order")
    assert await bench.output(flow, variables) == {
        "ordered": False,
        "reason": "no address is given for 2 × tea",
        "cancelled": ["P-2", "R-tea"],
    }
    assert await bench.output(flow, variables | {"address": "1 Road"}) == {
        "ordered": True,
        "reservation": "R-tea",
        "payment": "P-2",
    }


async def test_poll_asks_for_a_week_at_most_and_less_and_less_often(
    catalog: Catalog, bench: Bench, web: Web
) -> None:
    bench.can_park = True
    flow, variables = catalog.workflows["poll"], variables_of("poll") | {"url": f"{web.url}/job"}
    web.routes["/job"] = answers.json({"state": "running"})
    outcome, waits = await bench.execute(flow, variables), []
    while not isinstance(outcome, RunCompleted):
        assert outcome.unpark_at is not None
        waits.append((outcome.unpark_at - bench.clock) // timedelta(minutes=1))
        bench.clock = outcome.unpark_at
        outcome = await bench.execute(flow, variables, bench.saved)
    assert outcome.output == {"state": "not done after a week: The job is not done yet"}
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert timedelta(days=6, hours=22) < bench.clock - START <= timedelta(days=7)
    assert len(web.seen) == len(waits) + 1

    web.routes["/job"] = answers.json({"state": "done", "result": 7})
    assert await bench.output(flow, variables) == {"state": "done", "result": 7}
    web.routes["/job"] = Answer(404)
    assert (await bench.error(flow, variables)).status == 404


async def test_invite_says_what_is_wrong_with_its_variables(catalog: Catalog, bench: Bench) -> None:
    flow, variables = catalog.workflows["invite"], variables_of("invite")
    invitations = [{"to": "ada@example.com", "days": 3}, {"to": "bob@example.com", "days": 3}]
    assert await bench.output(flow, variables) == {"invitations": invitations}
    del variables["days"]
    assert (await bench.output(flow, variables))["invitations"][1]["days"] == 7
    error = await bench.error(flow, {"emails": ["nobody"], "days": 0, "dais": 1})
    assert error.status == 400
    for place in ("/emails/0", "/days", "dais"):
        assert place in error.detail
    error = await bench.error(flow, {"emails": ["a@b.c"] * 101})
    assert (error.instance, "/invitations" in error.detail) == ("/do/0/write", True)


async def test_prices_asks_for_all_articles_in_the_same_second(
    catalog: Catalog, bench: Bench
) -> None:
    output = await bench.output(catalog.workflows["prices"], variables_of("prices"))
    assert [price["article"] for price in output["prices"]] == ["tea", "milk", "sugar"]
    assert output["total"] == 12
    assert bench.clock - START == timedelta(seconds=1)


async def test_race_takes_the_first_answer_and_does_not_wait_for_the_other(
    catalog: Catalog, bench: Bench
) -> None:
    bench.can_park = True
    flow, variables = catalog.workflows["race"], variables_of("race")
    saved = await bench.parked(flow, variables)
    assert bench.unpark_at == START + timedelta(seconds=1)
    bench.clock = bench.unpark_at
    assert await bench.execute(flow, variables, saved) == RunCompleted({"from": "the near service"})
    bench.clock, bench.can_park = START, False
    assert await bench.output(flow, {"near": 9, "far": 2}) == {"from": "the far service"}
    error = await bench.error(flow, {"near": 90, "far": 90})
    assert (error.status, error.instance) == (408, "/do/0/ask")


class _Children:
    """Runs the children of a run in place."""

    def __init__(self, catalog: Catalog, bench: Bench) -> None:
        self._catalog, self._bench = catalog, bench
        self.runs: list[ChildRun] = []

    async def start(self, child_id: str, task: ChildTask | ChildRun) -> ChildEnd:
        assert isinstance(task, ChildRun)
        self.runs.append(task)
        child = self._catalog.get(task.name, task.version)
        assert child is not None
        output = await Bench(self._bench.runtime).output(child, task.variables)
        return ChildEnd("completed", {"variables": output})

    async def cancel(self, child_id: str) -> None:
        raise AssertionError("nothing is cancelled here")


async def test_greet_all_runs_hello_for_each_name(catalog: Catalog, bench: Bench) -> None:
    bench.children = children = _Children(catalog, bench)
    output = await bench.output(catalog.workflows["greet-all"], variables_of("greet-all"))
    assert output == {"greetings": ["Hello, Ada!", "Hello, Bob!"]}
    assert [run.variables for run in children.runs] == [{"name": "Ada"}, {"name": "Bob"}]

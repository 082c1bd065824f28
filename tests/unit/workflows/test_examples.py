"""The example workflows do what their comments say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from headrace.workflows import Catalog, RunCompleted
from tests.unit.workflows.harness import START, Bench
from tests.unit.workflows.web import Answer, Web

FOLDER = Path(__file__).parents[3] / "examples" / "workflows"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(FOLDER)


def test_all_examples_can_be_loaded(catalog: Catalog) -> None:
    assert catalog.errors == []
    assert set(catalog.workflows) == {"hello", "my-workflow", "wait-and-greet", "fetch", "restock"}


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
    assert parked.unpark_at == START + timedelta(seconds=10)
    bench.clock = parked.unpark_at
    outcome = await bench.execute(flow, {"name": "Ada"}, parked.state)
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

"""The examples in docs/workflows.md do what their sections say, and its table is true."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headrace import function
from headrace.workflows import (
    ChildEnd,
    ChildRun,
    ChildTask,
    Runtime,
    SecretSource,
    Workflow,
    parse,
)
from tests.unit.workflows.harness import Bench
from tests.unit.workflows.test_refusals import WRONG

TEXT = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text(encoding="utf-8")
# The examples, by the section that each is in.
EXAMPLES = [
    (section.partition("\n")[0], example)
    for section in re.split(r"^#+ ", TEXT, flags=re.MULTILINE)
    for example in re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
]
HEAD = "document: {dsl: '1.0.3', namespace: docs, name: example, version: '1.0.0'}\n"
TABLE = TEXT.partition("## Every feature of the specification")[2]

ORDER = {"id": 7, "status": "sent"}
# What the hosts of the examples answer, by method and path.
ANSWERS: dict[str, Any] = {
    "GET /orders/7": ORDER,
    "GET /prices/tea": 5,
    "GET /prices/milk": 2,
    "POST /payments": {"receipt": 1},
}
# By section: the variables, and the output; or the status of the error.
RUNS: dict[str, list[tuple[Any, Any]]] = {
    "Workflows": [({"orderId": 7}, {"message": "Order 7 is sent"})],
    "Fields of every task": [
        ({"total": 5, "id": 7}, {"receipt": {"paid": 5, "order": 7}}),
        ({"total": 0}, {"total": 0}),
    ],
    "Fields of the workflow": [({"order": {"id": 7}}, {"answer": {"id": 7}})],
    "Schemas": [({"email": "a@b"}, {"to": "a@b"}), ({"copies": 0}, 400)],
    "`set`": [({"name": "Ada"}, {"greeting": "Hello, Ada!", "tries": 0})],
    "`do`": [({"n": 2}, {"n": 6})],
    "`wait`": [({"n": 2}, {"n": 2})],
    "`switch`": [
        ({"priority": "high"}, {"route": "phone"}),
        ({"items": []}, {"items": []}),
        ({"items": [1]}, {"route": "queue"}),
    ],
    "`for`": [
        (
            {"lines": [{"article": "tea", "pieces": 2}, {"article": "milk", "pieces": 3}]},
            {"lines": [{"article": "tea", "pieces": 2}, {"article": "milk", "pieces": 3}],
             "total": 16},
        ),
    ],
    "Rounds at once": [
        ({"lines": [{"article": "tea"}, {"article": "milk"}, {"article": "tea"}]}, [5, 2, 5]),
    ],
    "`fork`": [({}, {"price": 5})],
    "`raise`": [({"stock": 3, "wanted": 2}, {"reserved": 2}), ({"stock": 0, "wanted": 2}, 409)],
    "`try`": [
        ({"payment": {"card": "good"}}, {"paid": True}),
        ({"payment": {"card": "bad"}}, {"paid": False, "reason": "Service Unavailable"}),
        ({"payment": {"card": "twice"}}, 409),
    ],
    "`call: http`": [({"id": 7}, "sent")],
    "Authentication": [({"id": 7}, "sent")],
    "`call` of a function": [({}, {"gross": 119})],
    "`call` of a task type": [({"url": "a.png"}, {"got": {"url": "a.png", "width": 200}})],
    "`run`": [({"id": 7}, {"invoice-create": {"order": 7}})],
}  # fmt: skip


@function("vat")
def vat(net: float) -> dict[str, float]:
    """The function that the examples call."""
    return {"vat": round(net * 0.19, 2)}


class _Children:
    """End at once, with what they were given."""

    async def start(self, child_id: str, task: ChildTask | ChildRun) -> ChildEnd:
        if isinstance(task, ChildRun):
            return ChildEnd("completed", {"variables": {task.name: task.variables}})
        return ChildEnd("completed", {"got": task.payload})

    async def cancel(self, child_id: str) -> None:
        raise AssertionError("nothing is cancelled here")


def _answer(request: httpx2.Request) -> httpx2.Response:
    if b"bad" in request.content:
        return httpx2.Response(503)
    if b"twice" in request.content:
        return httpx2.Response(409)
    return httpx2.Response(200, json=ANSWERS[f"{request.method} {request.url.path}"])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    secrets = SecretSource(environment={"WORKFLOW_SECRET_SHOPTOKEN": "of-the-shop"})
    runtime = Runtime(transport=httpx2.MockTransport(_answer), secrets=secrets)
    yield Bench(runtime, children=_Children())
    await runtime.close()


def read(example: str) -> Workflow:
    """A whole document, some of its fields, or tasks."""
    if example.startswith("- "):
        example = f"do:\n{example}"
    if not example.startswith("document:"):
        example = HEAD + example
    return parse(example.encode(), "example.yaml", functions={"vat": vat})


@pytest.mark.parametrize(("section", "example"), EXAMPLES)
async def test_an_example_gives_what_its_section_says(
    bench: Bench, section: str, example: str
) -> None:
    workflow = read(example)
    for variables, outcome in RUNS[section]:
        if isinstance(outcome, int):
            assert (await bench.error(workflow, variables)).status == outcome
        else:
            assert await bench.output(workflow, variables) == outcome


def test_the_table_names_tests_that_exist() -> None:
    tests = set(re.findall(r"\| `(test_\w+\.py)` \|$", TABLE, re.MULTILINE))
    assert len(re.findall(r"^\| (?!Feature|---)", TABLE, re.MULTILINE)) == len(
        re.findall(r"`test_\w+\.py` \|$", TABLE, re.MULTILINE)
    )
    assert tests <= {path.name for path in Path(__file__).parent.glob("test_*.py")}


def test_the_table_has_the_messages_that_refused_features_get() -> None:
    messages = re.findall(r"refused: `` (.*?) ``", TABLE)
    assert messages
    refusals = [message for _, message in WRONG.values()]
    for message in messages:
        assert any(refusal.endswith(message) for refusal in refusals), message

"""The built-in task type `workflow_execute`: which definition it runs, and how it ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.handlers import (
    ChildEnd,
    Context,
    Outcome,
    Park,
    Raised,
    Returned,
    TaskType,
    run_attempt,
)
from headrace.handlers.builtin import BUILTIN_QUEUES, builtin_types
from headrace.workflows import Catalog, Runtime, WorkflowError
from tests.unit.handlers.recording_host import RecordingHost, make_context


def definition(greeting: str, version: str = "1.0.0") -> bytes:
    return f"""\
document: {{dsl: 1.0.3, namespace: test, name: greet, version: {version}}}
do:
  - say:
      set:
        said: ${{ "{greeting} " + .name }}
""".encode()


WAITING = b"""\
document: {dsl: 1.0.3, namespace: test, name: patient, version: 1.0.0}
do:
  - rest: {wait: {hours: 1}}
  - say: {set: {said: done}}
"""


class Kit:
    """A folder of definitions and the task type that runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = Runtime()
        self.catalog = Catalog.load(folder)
        self.definitions: dict[str, bytes] = {}
        [self.task_type] = builtin_types(self.catalog, self.runtime, "9.9", self.fetch, self.keep)
        self.host = RecordingHost()

    async def fetch(self, sha256: str) -> bytes | None:
        return self.definitions.get(sha256)

    async def keep(self, text: bytes) -> None:
        self.definitions[hashlib.sha256(text).hexdigest()] = text

    def add(self, name: str, text: bytes) -> str:
        (self.folder / name).write_bytes(text)
        return hashlib.sha256(text).hexdigest()

    async def run(
        self,
        workflow_id: str = "greet",
        *,
        definition: str | None = None,
        state: bytes | None = None,
        can_park: bool = True,
        journal: tuple[bytes, ...] = (),
    ) -> Outcome:
        payload = {
            "workflow_id": workflow_id,
            "variables": {"name": "you"},
            "definition": definition,
        }
        ctx = make_context(self.host, state=state, can_park=can_park, journal=journal)
        ended = await run_attempt(self.task_type, json.dumps(payload).encode(), ctx)
        return ended.outcome


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    kit = Kit(tmp_path)
    yield kit
    await kit.runtime.close()


def said(outcome: Outcome) -> Any:
    assert isinstance(outcome, Returned), outcome
    result = json.loads(outcome.result)
    assert result["status"] == "completed"
    return result["variables"]["said"]


def refused(outcome: Outcome) -> str:
    assert isinstance(outcome, Raised), outcome
    assert not outcome.retryable
    return outcome.error


def test_the_built_in_queues_and_types() -> None:
    types: list[TaskType[Any, Any]] = builtin_types(
        Catalog.load(Path("/nonexistent")), Runtime(), "9.9"
    )
    assert [(task_type.name, task_type.version) for task_type in types] == [
        ("workflow_execute", "9.9")
    ]
    assert BUILTIN_QUEUES == ("workflow_execute", "chat_process", "knowledge_search")
    assert types[0].payload_schema()["required"] == ["workflow_id"]


async def test_a_run_without_a_pin_takes_what_the_folder_holds_now(kit: Kit) -> None:
    kit.add("greet.yaml", definition("hello"))
    assert said(await kit.run()) == "hello you"
    kit.add("greet2.yaml", definition("good day", "1.1.0"))
    assert said(await kit.run()) == "good day you"


async def test_a_pinned_run_takes_the_text_kept_at_submit(kit: Kit) -> None:
    kit.add("greet.yaml", definition("new", "2.0.0"))
    old = definition("old")
    pin = hashlib.sha256(old).hexdigest()
    kit.definitions[pin] = old
    assert said(await kit.run(definition=pin)) == "old you"
    kit.definitions.clear()
    assert said(await kit.run(definition=pin)) == "old you", "it is read once"


async def test_a_pinned_run_takes_the_folders_when_it_is_the_same(kit: Kit) -> None:
    pin = kit.add("greet.yaml", definition("hello"))
    assert said(await kit.run(definition=pin)) == "hello you"


async def test_a_pin_to_another_workflow_s_definition_fails_at_once(kit: Kit) -> None:
    text = definition("hello")
    pin = hashlib.sha256(text).hexdigest()
    kit.definitions[pin] = text
    error = refused(await kit.run("order-status", definition=pin))
    assert "'order-status' is pinned to is one of 'greet'" in error


async def test_an_underscore_finds_the_workflow_with_a_hyphen(kit: Kit) -> None:
    kit.add("greet.yaml", definition("hello").replace(b"greet", b"greet-all"))
    assert said(await kit.run("greet_all")) == "hello you"


async def test_a_pinned_text_that_is_nowhere_fails_at_once(kit: Kit) -> None:
    kit.add("greet.yaml", definition("hello"))
    error = refused(await kit.run(definition="0" * 64))
    assert "neither in Redis nor in WORKFLOWS_DIR" in error


async def test_a_text_that_was_changed_in_redis_is_not_run(kit: Kit) -> None:
    pin = hashlib.sha256(definition("hello")).hexdigest()
    kit.definitions[pin] = definition("evil")
    assert "does not match its SHA-256" in refused(await kit.run(definition=pin))


async def test_a_pinned_text_that_is_not_supported_here_fails_at_once(kit: Kit) -> None:
    text = definition("hello").replace(b"set:", b"emit:")
    pin = hashlib.sha256(text).hexdigest()
    kit.definitions[pin] = text
    assert "does not support the definition" in refused(await kit.run(definition=pin))


async def test_an_unknown_workflow_fails_at_once_and_names_those_that_are_known(kit: Kit) -> None:
    kit.add("greet.yaml", definition("hello"))
    error = refused(await kit.run("gret"))
    assert error == "there is no workflow 'gret': defined are greet (WORKFLOWS_DIR)"


async def test_a_wait_parks_the_run_and_it_goes_on_from_there(kit: Kit) -> None:
    kit.add("patient.yaml", WAITING)
    parked = await kit.run("patient")
    assert isinstance(parked, Park)
    other = await kit.run("patient", state=b"{}")
    assert "cannot go on" in refused(other)


@pytest.mark.parametrize(
    ("kind", "status", "retryable"),
    [
        ("communication", 503, True),
        ("communication", 429, True),
        ("communication", 404, False),
        ("timeout", 408, True),
        ("expression", 400, False),
        ("authorization", 403, False),
    ],
)
async def test_errors_that_may_pass_are_tried_again(
    kit: Kit, kind: str, status: int, retryable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.add("greet.yaml", definition("hello"))

    async def failing(*args: Any, **rules: Any) -> Any:
        raise WorkflowError.standard(kind, "it broke", status=status)

    monkeypatch.setattr("headrace.handlers.builtin.execute", failing)
    outcome = await kit.run()
    assert isinstance(outcome, Raised)
    assert outcome.retryable is retryable
    assert outcome.error.endswith("it broke")


async def test_a_cancelled_run_ends(kit: Kit) -> None:
    kit.add("patient.yaml", WAITING)
    payload = b'{"workflow_id": "patient"}'
    ctx: Context = make_context(kit.host, can_park=False)
    running = asyncio.create_task(run_attempt(kit.task_type, payload, ctx))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ctx.cancelled


OUTER = b"""\
document: {dsl: 1.0.3, namespace: test, name: outer, version: 1.0.0}
do:
  - inner: {run: {workflow: {namespace: test, name: greet, version: latest}}}
"""


async def test_a_workflow_in_a_workflow_is_pinned_to_what_the_folder_holds(kit: Kit) -> None:
    pin = kit.add("greet.yaml", definition("hello"))
    kit.add("outer.yaml", OUTER)
    parked = await kit.run("outer")
    assert isinstance(parked, Park)
    assert (parked.unpark_at, parked.wake_on) == (None, "inbox")
    [child] = kit.host.submitted
    assert (child.type, child.child) == ("workflow_execute", True)
    assert json.loads(child.payload) == {
        "workflow_id": "greet",
        "variables": {"name": "you"},
        "definition": pin,
    }
    assert pin in kit.definitions


async def test_a_childs_error_document_becomes_the_runs(kit: Kit) -> None:
    kit.add("greet.yaml", definition("hello"))
    kit.add("outer.yaml", OUTER)
    parked = await kit.run("outer")
    assert isinstance(parked, Park)
    problem = {"type": "https://a.example/full", "status": 507, "title": "Full"}
    [child] = kit.host.submitted
    kit.host.ends[child.id] = ChildEnd("failed", error="x", problem=json.dumps(problem).encode())
    outcome = await kit.run("outer", state=parked.state, journal=tuple(parked.entries))
    assert isinstance(outcome, Raised)
    assert outcome.error == "Full (507) at /do/0/inner"
    assert json.loads(outcome.problem or b"") == {**problem, "instance": "/do/0/inner"}
    assert len(kit.host.submitted) == 1

"""Runs the conformance kit's scenarios.

Those that use tasks which are not supported yet are seen to be refused when they are loaded, and
are then expected failures; the day one of them loads, its test fails until it is moved.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from pytest_bdd import given, parsers, scenarios, then, when
from pytest_bdd.parser import FeatureParser
from ruamel.yaml import YAML

from headrace.workflows import (
    DefinitionError,
    Environment,
    RunCompleted,
    Runtime,
    Workflow,
    WorkflowError,
    execute,
    parse,
)
from tests.conformance.conftest import SCENARIO
from tests.conformance.kit import conformance_dir

FEATURES = conformance_dir() / "ctk" / "features"

SUPPORTED = {
    "Call HTTP Using Basic Authentication",
    "Call HTTP With Content Output",
    "Call HTTP With Response Output",
    "Explicit Sequence Flow",
    "For Task",
    "Fork Task With Competing Concurrent Sub Tasks",
    "Implicit Sequence Flow",
    "Input Filtering",
    "Output Filtering",
    "Raise task with inline error",
    "Set Task",
    "Switch task with explicit default case",
    "Switch task with implicit default case",
    "Switch task with matching case",
    "Task With Sequential Sub Tasks",
    "Try Handle Caught Error",
    "Try Raise Uncaught Error",
    "Use Non-object Output",
}
# The scenario, and what the refusal names.
NOT_YET = {
    "Call OpenAPI With Content Output": "`call: openapi`",
    "Call OpenAPI With Response Output": "`call: openapi`",
    "Emit Task": "`emit` tasks",
}

scenarios(str(FEATURES))


def test_every_scenario_of_the_kit_is_accounted_for() -> None:
    names = [
        scenario.name
        for path in sorted(FEATURES.glob("*.feature"))
        for scenario in FeatureParser(str(FEATURES), path.name).parse().scenarios.values()
    ]
    assert sorted(names) == sorted(SUPPORTED | NOT_YET.keys())
    assert len(names) == 21


def _petstore(request: httpx2.Request) -> httpx2.Response:
    pet = {"id": 1, "name": "milou", "status": "available"}
    path = request.url.path
    if path == "/v2/pet/findByStatus":
        assert request.url.params["status"] == "available"
        return httpx2.Response(200, json=[pet])
    if path in ("/v2/pet/1", "/v2/pet/2"):
        return httpx2.Response(200, json=pet | {"id": int(path[-1])})
    return httpx2.Response(404, json={"message": "Pet not found"})


def _httpbin(request: httpx2.Request) -> httpx2.Response:
    user, password = request.url.path.removeprefix("/basic-auth/").split("/")
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    if request.headers.get("authorization") != f"Basic {credentials}":
        return httpx2.Response(401)
    return httpx2.Response(200, json={"authenticated": True, "user": user})


HOSTS = {"httpbin.org": _httpbin, "petstore.swagger.io": _petstore}


@dataclass
class Played:
    """A scenario as it goes."""

    workflow: Workflow | None = None
    given: Any = field(default_factory=dict)
    output: Any = None
    error: WorkflowError | None = None
    tasks: list[str] = field(default_factory=list)

    async def run(self) -> None:
        assert self.workflow is not None
        transport = httpx2.MockTransport(lambda request: HOSTS[request.url.host](request))
        runtime = Runtime(transport=transport)
        environment = Environment(
            runtime=runtime,
            run_id="kit",
            on_step=lambda reference: self.tasks.append(reference.rpartition("/")[2]),
        )
        try:
            outcome = await execute(self.workflow, self.given, environment=environment)
            assert isinstance(outcome, RunCompleted)
            self.output = outcome.output
        except WorkflowError as error:
            self.error = error
        finally:
            await runtime.close()


def _yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def _look_up(value: Any, path: str) -> Any:
    for key in path.split("."):
        assert isinstance(value, dict)
        assert key in value, f"the output has no {path}"
        value = value[key]
    return value


@pytest.fixture
def played() -> Played:
    return Played()


@given("a workflow with definition:")
def _definition(played: Played, docstring: str, request: pytest.FixtureRequest) -> None:
    scenario = request.node.stash[SCENARIO]
    if scenario in SUPPORTED:
        played.workflow = parse(docstring.encode(), "scenario.yaml")
        return
    with pytest.raises(DefinitionError) as caught:
        parse(docstring.encode(), "scenario.yaml")
    error = caught.value
    assert NOT_YET[scenario] in error.reason
    assert "not supported yet" in error.reason
    assert error.line is not None
    assert error.task is not None
    pytest.xfail(f"refused when it is loaded: {error}")


@given("given the workflow input is:")
def _input(played: Played, docstring: str) -> None:
    played.given = _yaml(docstring)


@when("the workflow is executed")
def _executed(played: Played) -> None:
    asyncio.run(played.run())


@then("the workflow should complete")
def _completes(played: Played) -> None:
    assert played.error is None


@then("the workflow should complete with output:")
def _completes_with(played: Played, docstring: str) -> None:
    assert played.error is None
    assert played.output == _yaml(docstring)


@then("the workflow should fault")
def _faults(played: Played) -> None:
    assert played.error is not None


@then("the workflow should fault with error:")
def _faults_with(played: Played, docstring: str) -> None:
    assert played.error is not None
    assert played.error.as_dict().items() >= _yaml(docstring).items()


@then(parsers.parse("the workflow output should have properties {names}"))
def _has_properties(played: Played, names: str) -> None:
    for name in names.split(","):
        _look_up(played.output, name.strip().strip("'"))


@then(parsers.parse("the workflow output should have a '{name}' property with value:"))
def _has_value(played: Played, name: str, docstring: str) -> None:
    assert _look_up(played.output, name) == _yaml(docstring)


@then(parsers.parse("the workflow output should have a '{name}' property containing {n:d} items"))
def _has_items(played: Played, name: str, n: int) -> None:
    assert len(_look_up(played.output, name)) == n


@then(parsers.parse("{task} should run first"))
def _runs_first(played: Played, task: str) -> None:
    assert played.tasks[0] == task


@then(parsers.parse("{task} should run last"))
def _runs_last(played: Played, task: str) -> None:
    assert played.tasks[-1] == task


@then(parsers.parse("{task} should run after {other}"))
def _runs_after(played: Played, task: str, other: str) -> None:
    assert played.tasks.index(task) == played.tasks.index(other) + 1

"""`run` (DSL reference, "Run") and `call` of a task type: tasks that a run waits for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headrace.workflows import (
    ChildEnd,
    ChildRun,
    ChildTask,
    DefinitionError,
    RunCompleted,
    RunParked,
    WorkflowError,
)
from tests.unit.workflows.harness import START, Bench, define

FLOW = {"namespace": "test", "name": "other", "version": "1.0.0"}


class FakeChildren:
    """Children that end when the test says so."""

    def __init__(self) -> None:
        self.tasks: dict[str, ChildTask | ChildRun] = {}
        self.ends: dict[str, ChildEnd] = {}
        self.cancelled: list[str] = []
        self.default: ChildEnd | None = None

    async def start(self, child_id: str, task: ChildTask | ChildRun) -> ChildEnd | None:
        self.tasks.setdefault(child_id, task)
        if not task.awaited:
            return ChildEnd("started")
        return self.ends.get(child_id, self.default)

    async def cancel(self, child_id: str) -> None:
        self.cancelled.append(child_id)

    def end(self, end: ChildEnd) -> None:
        """All that were started have ended so."""
        for child_id in self.tasks:
            self.ends[child_id] = end


@pytest.fixture
def children(bench: Bench) -> FakeChildren:
    bench.children = children = FakeChildren()
    bench.can_park = True
    return children


def calling(payload: Any = None, **more: Any) -> Any:
    return {"call": "resize", **more} | ({} if payload is None else {"with": payload})


async def test_a_call_parks_the_run_until_its_task_has_ended(
    bench: Bench, children: FakeChildren
) -> None:
    call = calling({"width": "${ .w * 2 }"})
    workflow = define([{"resize": call}, {"keep": {"set": {"got": "${ . }"}}}])
    outcome = await bench.execute(workflow, {"w": 4})
    assert isinstance(outcome, RunParked)
    assert (outcome.unpark_at, outcome.wakes) == (None, True)
    [(child_id, task)] = children.tasks.items()
    assert task == ChildTask("resize", {"width": 8})
    again = await bench.execute(workflow, {"w": 4}, bench.saved)  # woken by something else
    assert isinstance(again, RunParked)
    children.ends[child_id] = ChildEnd("completed", [1, 2])
    outcome = await bench.execute(workflow, {"w": 4}, bench.saved)
    assert isinstance(outcome, RunCompleted)
    assert outcome.output == {"got": [1, 2]}
    assert list(children.tasks) == [child_id]


async def test_without_arguments_the_tasks_input_is_the_payload(
    bench: Bench, children: FakeChildren
) -> None:
    children.default = ChildEnd("completed", None)
    workflow = define([{"a": {**calling(), "input": {"from": "${ [.n, 1] }"}}}])
    assert await bench.output(workflow, {"n": 7}) is None
    assert list(children.tasks.values()) == [ChildTask("resize", [7, 1])]


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        (
            ChildEnd("failed", error="ValueError: no such picture"),
            "the task of type 'resize' failed: ValueError: no such picture",
        ),
        (ChildEnd("cancelled"), "the task of type 'resize' was cancelled"),
    ],
)
async def test_a_failed_task_is_an_error_that_can_be_caught(
    bench: Bench, children: FakeChildren, end: ChildEnd, detail: str
) -> None:
    children.default = end
    error = await bench.error(define([{"a": calling()}]))
    assert (error.type.rpartition("/")[2], error.status) == ("runtime", 500)
    assert (error.detail, error.instance) == (detail, "/do/0/a")
    assert not error.retryable  # it had its own retries
    caught = define(
        [{"a": {"try": [{"b": calling()}], "catch": {"do": [{"c": {"set": {"x": 1}}}]}}}]
    )
    assert await bench.output(caught) == {"x": 1}


async def test_a_time_out_cancels_the_task(bench: Bench, children: FakeChildren) -> None:
    workflow = define([{"a": {**calling(), "timeout": {"after": {"seconds": 30}}}}])
    outcome = await bench.execute(workflow)
    assert isinstance(outcome, RunParked)
    assert outcome.unpark_at == START + timedelta(seconds=30)
    bench.clock += timedelta(seconds=31)
    with pytest.raises(WorkflowError, match="not over within 30 s"):
        await bench.execute(workflow, None, bench.saved)
    assert children.cancelled == list(children.tasks)
    children.end(ChildEnd("cancelled"))
    with pytest.raises(WorkflowError, match="not over within 30 s"):  # not: was cancelled
        await bench.execute(workflow, None, bench.saved)


async def test_each_round_of_a_loop_has_a_task_of_its_own(
    bench: Bench, children: FakeChildren
) -> None:
    children.default = ChildEnd("completed", 1)
    loop = {
        "for": {"in": "${ [1, 2, 3] }"},
        "do": [{"a": calling(**{"with": {"n": "${ $item }"}})}],
    }
    await bench.output(define([{"all": loop}]))
    assert [task.payload for task in children.tasks.values() if isinstance(task, ChildTask)] == [
        {"n": 1},
        {"n": 2},
        {"n": 3},
    ]


async def test_a_run_without_a_queue_says_that_it_can_start_none(bench: Bench) -> None:
    error = await bench.error(define([{"a": calling()}]))
    assert "can start no task of its own" in error.detail


async def test_a_workflow_is_run_with_its_input_and_gives_its_output(
    bench: Bench, children: FakeChildren
) -> None:
    children.default = ChildEnd("completed", {"status": "completed", "variables": {"x": 1}})
    given = {**FLOW, "input": {"n": "${ .n + 1 }"}}
    assert await bench.output(define([{"a": {"run": {"workflow": given}}}]), {"n": 1}) == {"x": 1}
    assert list(children.tasks.values()) == [ChildRun("test", "other", "1.0.0", {"n": 2})]


async def test_a_workflow_gets_the_tasks_input_and_the_latest_version_if_asked_for(
    bench: Bench, children: FakeChildren
) -> None:
    children.default = ChildEnd("completed", {"variables": {}})
    await bench.output(
        define([{"a": {"run": {"workflow": {**FLOW, "version": "latest"}}}}]), {"n": 1}
    )
    assert list(children.tasks.values()) == [ChildRun("test", "other", None, {"n": 1})]


async def test_a_workflow_that_nobody_waits_for_gives_the_input(
    bench: Bench, children: FakeChildren
) -> None:
    workflow = define([{"a": {"run": {"workflow": {**FLOW, "input": {}}, "await": False}}}])
    assert await bench.output(workflow, {"n": 1}) == {"n": 1}
    assert [task.awaited for task in children.tasks.values()] == [False]


async def test_the_error_of_a_workflow_is_its_callers(bench: Bench, children: FakeChildren) -> None:
    problem = {
        "type": "https://example.com/errors/full",
        "status": 507,
        "title": "Full",
        "detail": "d",
    }
    children.default = ChildEnd("failed", error="Full (507)", problem=problem)
    workflow = define([{"a": {"run": {"workflow": FLOW}}}])
    error = await bench.error(workflow)
    assert error.as_dict() == {**problem, "instance": "/do/0/a"}
    children.default = ChildEnd("cancelled")
    error = await bench.error(workflow)
    assert error.detail == "the workflow 'other' was cancelled"


async def test_a_workflows_input_must_be_an_object(bench: Bench, children: FakeChildren) -> None:
    step = {"run": {"workflow": FLOW}, "input": {"from": "${ [1] }"}}
    error = await bench.error(define([{"a": step}]))
    assert (error.type.rpartition("/")[2], error.detail) == (
        "validation",
        "a workflow's input must be an object, not a list",
    )
    assert children.tasks == {}


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"call": "Resize Image"}, "'Resize Image' is not a name for a task type: up to 64 of a-z"),
        ({"call": "htp"}, "Did you mean 'http'?"),
        ({"call": "resize", "with": [1]}, "`with` must be a mapping, not a list"),
        ({"run": {}}, "`workflow` is missing in `run`"),
        ({"run": {"workflow": {"name": "x"}}}, "`namespace` is missing in `workflow`"),
        ({"run": {"workflow": FLOW, "await": "no"}}, "`await` must be true or false"),
        ({"run": {"workflow": {**FLOW, "inputs": {}}}}, "Did you mean 'input'?"),
        ({"run": {"shell": {"command": "ls"}}}, "`run: shell` is not supported, because"),
        ({"run": {"script": {}}}, "`run: script` is not supported, because a definition is data"),
        ({"run": {"container": {}}}, "`run: container` is not supported"),
    ],
)
def test_what_cannot_be_called_or_run_is_refused(step: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define([{"a": step}])
    assert any(reason in fault.reason for fault in (caught.value, *caught.value.others))

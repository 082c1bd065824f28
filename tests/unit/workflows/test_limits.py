"""The limits of a run: each a setting, and an error that names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from headrace.client.runtimes import new_runtime
from headrace.settings import WorkerSettings
from headrace.settings.fields import env_name
from headrace.settings.processes import EvaluationSettings, WorkflowLimits, WorkflowSettings
from headrace.workflows import RunLimits, Runtime, WorkflowError, execute
from tests.unit.workflows.harness import Bench, define


def test_every_limit_of_a_run_is_a_setting_with_the_same_default() -> None:
    assert WorkflowLimits().model_dump() == asdict(RunLimits())
    for name, field in WorkflowLimits.model_fields.items():
        assert env_name(name, field) == f"WORKFLOW_{name.upper()}"


async def test_the_settings_reach_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_MAX_ITEMS", "7")
    monkeypatch.setenv("WORKFLOW_EVALUATION_SECONDS", "0.1")
    settings = WorkerSettings()
    runtime = new_runtime(settings.workflows, settings.workflow_limits, settings.evaluation)
    assert runtime.limits.max_items == 7
    error = await Bench(runtime).error(set_to("[limit(1000000000; repeat(1))] | length"))
    assert "0.1 s of CPU time (WORKFLOW_EVALUATION_SECONDS)" in error.detail
    await runtime.close()


@pytest.fixture
async def small() -> AsyncIterator[Runtime]:
    limits = WorkflowLimits(max_data_bytes=2_000)
    evaluation = EvaluationSettings(memory_bytes=128 * 1_048_576)
    runtime = new_runtime(WorkflowSettings(), limits, evaluation)
    yield runtime
    await runtime.close()


def set_to(expression: str) -> Any:
    return define([{"step": {"set": {"x": f"${{ {expression} }}"}}}])


@pytest.mark.parametrize(
    ("expression", "setting"),
    [
        ("[range(1000)]", "WORKFLOW_MAX_DATA_BYTES"),
        ('reduce range(40) as $i ("0123456789"; . + .)', "WORKFLOW_EVALUATION_MEMORY_BYTES"),
    ],
)
async def test_an_expression_over_a_limit_is_an_error_that_names_the_setting(
    small: Runtime, expression: str, setting: str
) -> None:
    error = await Bench(small).error(set_to(expression))
    assert setting in error.detail
    assert error.type.endswith("/expression")


async def test_data_that_doubles_with_each_task_is_stopped_at_the_limit(small: Runtime) -> None:
    twice = {"set": {"left": "${ . }", "right": "${ . }"}}
    workflow = define([{f"twice{index}": twice} for index in range(60)])
    error = await Bench(small).error(workflow, {"a": 1})
    assert "is over the limit of 2000 bytes (WORKFLOW_MAX_DATA_BYTES)" in error.detail
    assert error.instance is not None
    assert error.instance.startswith("/do/")


async def test_a_run_has_a_limit_of_its_steps_in_all(bench: Bench) -> None:
    workflow = define([{f"step{index}": {"set": {"x": index}}} for index in range(6)])
    environment = replace(bench.environment, limits=RunLimits(max_run_steps=5))
    with pytest.raises(WorkflowError, match=r"6 steps in all.*WORKFLOW_MAX_RUN_STEPS"):
        await execute(workflow, {}, environment=environment)

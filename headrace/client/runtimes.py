"""Makes what the workflow runs of a process share, by its settings."""

from __future__ import annotations

from headrace.settings.processes import EvaluationSettings, WorkflowLimits, WorkflowSettings
from headrace.workflows import HttpPolicy, RunLimits, Runtime, SecretSource
from headrace.workflows.expressions import Evaluator, Limits


def new_runtime(
    workflows: WorkflowSettings, limits: WorkflowLimits, evaluation: EvaluationSettings
) -> Runtime:
    """What the workflow runs of a process share, by its settings. Whoever makes it closes it."""
    per_evaluation = Limits(
        cpu_seconds=evaluation.seconds,
        memory_bytes=evaluation.memory_bytes,
        max_result_bytes=limits.max_data_bytes,
    )
    return Runtime(
        HttpPolicy(allow=workflows.http_allow),
        evaluator=Evaluator(per_evaluation, max_processes=evaluation.processes),
        limits=RunLimits(**limits.model_dump()),
        secrets=SecretSource(workflows.secrets_dir, workflows.secrets_prefix),
    )

"""The workflow language: definitions are read, checked and run here.

It is the Open Workflow Specification's DSL 1.0. Knows neither Redis nor HTTP servers: whoever runs
a workflow hands in an `Environment`. From the bottom up: `model` (what a workflow is),
`expressions` (jq), `reading` (text to model), `steps` (one file a kind of step), `running` (the
interpreter) and `catalog` (a folder of definitions). The libraries for YAML and HTTP are loaded
when they are first needed.
"""

from __future__ import annotations

from headrace.workflows.catalog import Catalog, check_file, parse
from headrace.workflows.errors import DefinitionError, StateError, WorkflowError, WorkflowsError
from headrace.workflows.expressions import EvaluationFailed, mismatches
from headrace.workflows.limits import RunLimits
from headrace.workflows.model import ChildEnd, ChildRun, ChildTask, Schema, Workflow
from headrace.workflows.reading import CALLS, hyphened
from headrace.workflows.running import (
    Environment,
    RunCompleted,
    RunParked,
    Runtime,
    execute,
    is_read_by_0_2_0,
)
from headrace.workflows.secrets import SecretSource
from headrace.workflows.steps.http import HttpPolicy

__all__ = [
    "CALLS",
    "Catalog",
    "ChildEnd",
    "ChildRun",
    "ChildTask",
    "DefinitionError",
    "Environment",
    "EvaluationFailed",
    "HttpPolicy",
    "RunCompleted",
    "RunLimits",
    "RunParked",
    "Runtime",
    "Schema",
    "SecretSource",
    "StateError",
    "Workflow",
    "WorkflowError",
    "WorkflowsError",
    "check_file",
    "execute",
    "hyphened",
    "is_read_by_0_2_0",
    "mismatches",
    "parse",
]

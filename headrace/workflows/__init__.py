"""The workflow language: definitions are read, checked and run here.

It is the Open Workflow Specification's DSL 1.0. Knows neither Redis nor HTTP servers: whoever runs
a workflow hands in an `Environment`.
"""

from __future__ import annotations

from headrace.workflows.errors import DefinitionError, StateError, WorkflowError, WorkflowsError
from headrace.workflows.reading.catalog import Catalog
from headrace.workflows.reading.definition import Workflow, hyphened, parse
from headrace.workflows.running.environment import Environment, Runtime
from headrace.workflows.running.interpreter import Completed, Waiting, execute
from headrace.workflows.steps.http.policy import HttpPolicy

__all__ = [
    "Catalog",
    "Completed",
    "DefinitionError",
    "Environment",
    "HttpPolicy",
    "Runtime",
    "StateError",
    "Waiting",
    "Workflow",
    "WorkflowError",
    "WorkflowsError",
    "execute",
    "hyphened",
    "parse",
]

"""Reads definitions: text to data with lines, data to the model, refusing what is wrong.

`read_definition` reads one whole. The readers of steps use the rest. Which types of step there are
is handed in: this package knows none.
"""

from __future__ import annotations

from headrace.workflows.reading import refused
from headrace.workflows.reading.cursor import Attempts, Cursor, attempts, kind_of
from headrace.workflows.reading.definition import hyphened, read_definition, version_key
from headrace.workflows.reading.durations import parse_value, read_duration
from headrace.workflows.reading.errors import read_error_filter
from headrace.workflows.reading.expressions import (
    STEP_BODY,
    WITH_SECRETS,
    read_condition,
    read_items,
    read_runtime_expression,
    read_template,
    read_variable,
)
from headrace.workflows.reading.refused import CALLS
from headrace.workflows.reading.source import MAX_SOURCE_BYTES, too_large
from headrace.workflows.reading.steps import StepReader, StepType

__all__ = [
    "CALLS",
    "MAX_SOURCE_BYTES",
    "STEP_BODY",
    "WITH_SECRETS",
    "Attempts",
    "Cursor",
    "StepReader",
    "StepType",
    "attempts",
    "hyphened",
    "kind_of",
    "parse_value",
    "read_condition",
    "read_definition",
    "read_duration",
    "read_error_filter",
    "read_items",
    "read_runtime_expression",
    "read_template",
    "read_variable",
    "refused",
    "too_large",
    "version_key",
]

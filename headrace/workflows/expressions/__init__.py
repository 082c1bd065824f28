"""Runtime expressions and schemas, and the process that evaluates them."""

from __future__ import annotations

from headrace.workflows.expressions.checker import Check, Checker
from headrace.workflows.expressions.child import EvaluationFailed, Limits
from headrace.workflows.expressions.evaluator import Evaluator
from headrace.workflows.expressions.programs import NOW, evaluate, make_expression, variables_in
from headrace.workflows.expressions.schemas import Mismatch, make_schema, mismatches, validate

__all__ = [
    "NOW",
    "Check",
    "Checker",
    "EvaluationFailed",
    "Evaluator",
    "Limits",
    "Mismatch",
    "evaluate",
    "make_expression",
    "make_schema",
    "mismatches",
    "validate",
    "variables_in",
]

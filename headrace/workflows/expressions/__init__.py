"""Runtime expressions: jq programs, and the process that evaluates them."""

from __future__ import annotations

from headrace.workflows.expressions.checker import Check, Checker
from headrace.workflows.expressions.child import EvaluationFailed, Limits
from headrace.workflows.expressions.evaluator import Evaluator
from headrace.workflows.expressions.programs import NOW, evaluate, make_expression, variables_in

__all__ = [
    "NOW",
    "Check",
    "Checker",
    "EvaluationFailed",
    "Evaluator",
    "Limits",
    "evaluate",
    "make_expression",
    "variables_in",
]

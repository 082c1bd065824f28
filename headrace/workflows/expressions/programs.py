"""Turns an expression's text into the jq program that is run for it, and runs it.

Simple ones (`.a.b`, `.count + 1`) are evaluated here, the rest in the evaluator's processes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.workflows.expressions.child import EvaluationFailed
from headrace.workflows.expressions.evaluator import Evaluator
from headrace.workflows.expressions.simple import NeedsJq, simplify
from headrace.workflows.model import Arguments, Expression, Template

# The time of the run's last step with effects: an expression that is computed again when a run
# resumes must see the same time, so `now` is this, not the clock.
NOW = "__now"

# Defined before every program: what would let the process's environment or files into an
# expression, or end without a result, or differ each time. `env` and `$ENV` are empty besides.
_GUARDS = (
    "def env: {}; {} as $ENV | "
    'def modulemeta: error("modulemeta is not available"); '
    'def input: error("input is not available: the data is `.`"); def inputs: input; '
    "def input_filename: input; def input_line_number: input; "
    'def halt: error("halt is not available"); '
    "def halt_error: error; def halt_error($code): error; "
    "def debug: .; def debug(f): .; def stderr: .; "
)

MAX_VALUES = 20_000
"""Values in all that data may have which is put together here."""
MAX_DEPTH = 500
"""Levels of such data. Deeper data may be too deep to be written, which jq's way finds out."""
VALUE_BYTES = 24
"""No number takes more, nor what stands around a value."""
_LARGE = (dict, list, str)
_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NOW_USED = re.compile(r"\bnow\b")


def variables_in(text: str) -> list[str]:
    """The names that an expression uses as `$name`, in order."""
    return _VARIABLE.findall(text)


def make_expression(text: str, allowed: frozenset[str]) -> Expression:
    """An expression with the arguments that it uses of those allowed; not checked yet."""
    variables = [name for name in dict.fromkeys(variables_in(text)) if name in allowed]
    if _NOW_USED.search(text):
        variables.insert(0, NOW)
    return Expression(text, _program(text, variables), tuple(variables), simplify(text))


def _program(text: str, variables: Sequence[str]) -> str:
    # jq binds the arguments of its own interface when it compiles; taken from the document they can
    # differ each time. Nothing closes the text: `1) | (2` must stay a syntax error.
    bindings = "".join(f".v.{name} as ${name} | " for name in variables)
    clock = f"def now: ${NOW}; " if NOW in variables else ""
    return f"{_GUARDS}{bindings}{clock}.d |\n{text}"


async def evaluate(
    template: Template, data: Any, arguments: Arguments, evaluator: Evaluator
) -> Any:
    """The template's value on `data`. Raises EvaluationFailed, its message naming the expression.

    `arguments` gives each argument when it is asked for: most expressions use few.
    """
    results: list[Any] = [None] * len(template.expressions)
    hard: list[int] = []
    for index, expression in enumerate(template.expressions):
        try:
            if expression.simple is None:
                hard.append(index)
            else:
                results[index] = value = expression.simple(data, arguments)
                if expression.simple.makes:
                    _check_made(value, evaluator.max_result_bytes)
        except NeedsJq:
            hard.append(index)
    if hard:
        programs = [template.expressions[index].program for index in hard]
        names = {name for index in hard for name in template.expressions[index].variables}
        document = {"d": data, "v": {name: arguments[name]() for name in names}}
        try:
            values = await evaluator.evaluate(programs, msgspec.json.encode(document))
        except EvaluationFailed as error:
            # Without an index it was the request as a whole: name its first expression.
            place = hard[0 if error.index is None else error.index]
            text = template.expressions[place].text.strip()
            raise EvaluationFailed(f"`{text}`: {error}", limit=error.limit) from None
        for index, value in zip(hard, values, strict=True):
            results[index] = value
    if len(results) > 1:
        _check_size(results, evaluator.max_result_bytes)
    return template.fill(results)


def _check_size(results: Sequence[Any], limit: int) -> None:
    """Data that is put together twice from the same grows twice as large each time.

    It costs no memory before it is written, so no other limit would end it.
    """
    size = 0
    for result in results:
        size += len(msgspec.json.encode(result)) if isinstance(result, _LARGE) else 1
        if size > limit:
            reason = f"the data is over the limit of {limit} bytes (WORKFLOW_MAX_DATA_BYTES)"
            raise EvaluationFailed(reason)


def _check_made(value: Any, limit: int) -> None:
    """Raise NeedsJq if data that was put together may be too deep, or over `limit` bytes as JSON.

    What holds the same data twice may double each time. That costs no memory before it is written.
    """
    size, values, depth, level = 0, 1, 0, [value]
    while level:
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                size += sum(map(len, value))
                inner = list(value.values())
            elif isinstance(value, list):
                inner = value
            else:
                size += len(value) if isinstance(value, str) else 0
                continue
            values += len(inner)
            deeper += [each for each in inner if isinstance(each, _LARGE)]
            if size + values * VALUE_BYTES > limit or values > MAX_VALUES:
                raise NeedsJq
        level, depth = deeper, depth + 1
        if depth > MAX_DEPTH:
            raise NeedsJq
    if size > limit:
        raise NeedsJq

"""Runtime expressions: jq programs in a definition, checked when it is loaded.

Only text that stands in a definition becomes an expression; data never does. The simplest ones
(`.a.b`, `$input.x`, a literal) are evaluated here, the rest in the evaluator's process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from headrace.workflows.expressions.child import EvaluationFailed
from headrace.workflows.expressions.evaluator import Evaluator
from headrace.workflows.reading.reader import Cursor

# Which arguments an expression may use, by where it stands (DSL, "Runtime expression arguments").
WORKFLOW_INPUT = frozenset({"workflow", "runtime"})
WORKFLOW_OUTPUT = WORKFLOW_INPUT | {"context"}
TASK_BEFORE = WORKFLOW_OUTPUT | {"task"}  # `if` and `input.from`
TASK_BODY = TASK_BEFORE | {"input"}  # the task's own fields, and `output.as`
TASK_EXPORT = TASK_BODY | {"output"}

# The language's own arguments that cannot be given yet.
_UNSUPPORTED = {"secrets": "secrets are", "authorization": "authentication is"}

# The time of the run's last step with effects: an expression that is computed again when a run
# resumes must see the same time, so `now` is this, not the clock.
NOW = "__now"

# Defined before every program: what would let the process's environment or files into an
# expression, or end without a result, or differ each time. `env` and `$ENV` are empty besides.
_GUARDS = (
    "def env: {}; {} as $ENV | "
    'def modulemeta: error("modulemeta is not available"); '
    'def halt: error("halt is not available"); '
    "def halt_error: error; def halt_error($code): error; "
    "def debug: .; def debug(f): .; def stderr: .; "
)

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NOW_USED = re.compile(r"\bnow\b")
_ENCLOSED = re.compile(r"\s*\$\{(.*)\}\s*", re.DOTALL)
_PATH = re.compile(
    r"\s*(?:\$(?P<root>[A-Za-z_][A-Za-z0-9_]*)|\.(?P<first>[A-Za-z_][A-Za-z0-9_]*)?)"
    r"(?P<rest>(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*"
)
_LITERAL = re.compile(r'\s*("[^"\\\x00-\x1f\x7f]*"|0|[1-9][0-9]{0,14}|true|false|null)\s*')
_POSITION = re.compile(r" at <top-level>, line \d+(, column \d+)?")

Arguments = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True, slots=True)
class Path:
    """An expression that only looks something up: `.a.b` or `$input.a.b`."""

    root: str | None
    keys: tuple[str, ...]

    def look_up(self, data: Any, arguments: Arguments) -> Any:
        """The value, as jq would find it; ValueError where jq would fail."""
        value = data if self.root is None else arguments[self.root]()
        for key in self.keys:
            if value is None:
                return None
            if not isinstance(value, dict):
                raise ValueError(f'Cannot index {_jq_kind(value)} with string ("{key}")')
            value = value.get(key)
        return value


@dataclass(frozen=True, slots=True)
class Literal:
    """An expression that is a constant."""

    value: Any

    def look_up(self, _data: Any, _arguments: Arguments) -> Any:
        """The constant."""
        return self.value


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. `simple` is set when it needs no jq."""

    text: str
    program: str
    variables: tuple[str, ...]
    simple: Path | Literal | None


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value of a definition, some texts of which are expressions."""

    value: Any
    expressions: tuple[Expression, ...]

    def fill(self, results: Sequence[Any]) -> Any:
        """The value with the results in place of its expressions, in their order."""
        return _fill(self.value, iter(results)) if self.expressions else self.value


def _fill(value: Any, results: Iterator[Any]) -> Any:
    if isinstance(value, Expression):
        return next(results)
    if isinstance(value, dict):
        return {key: _fill(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, results) for item in value]
    return value


def _jq_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array"


def simplify(text: str) -> Path | Literal | None:
    """How to evaluate an expression without jq, if it is that simple."""
    match = _PATH.fullmatch(text)
    if match is not None:
        keys = [match["first"]] if match["first"] else []
        rest = match["rest"].split(".")[1:]
        if rest and not keys and match["root"] is None:
            return None  # `..a` is jq's recursive descent
        if match["root"] not in ("__loc__", "ENV"):
            return Path(match["root"], (*keys, *rest))
    match = _LITERAL.fullmatch(text)
    return None if match is None else Literal(json.loads(match[1]))


def _program(text: str, variables: Sequence[str]) -> str:
    # jq binds the arguments of its own interface when it compiles; taken from the document they can
    # differ each time. Nothing closes the text: `1) | (2` must stay a syntax error.
    bindings = "".join(f".v.{name} as ${name} | " for name in variables)
    clock = f"def now: ${NOW}; " if NOW in variables else ""
    return f"{_GUARDS}{bindings}{clock}.d |\n{text}"


def make_expression(text: str, allowed: frozenset[str]) -> Expression:
    """An expression with the arguments that it uses of those allowed; not checked yet."""
    variables = [name for name in dict.fromkeys(_VARIABLE.findall(text)) if name in allowed]
    if _NOW_USED.search(text):
        variables.insert(0, NOW)
    return Expression(text, _program(text, variables), tuple(variables), simplify(text))


def read_expression(cursor: Cursor, allowed: frozenset[str]) -> Expression:
    """An expression from a field that always is one: `${ … }` around it is optional."""
    text = cursor.text()
    enclosed = _ENCLOSED.fullmatch(text)
    expression = make_expression(text if enclosed is None else enclosed[1], allowed)
    for name in _VARIABLE.findall(expression.text):
        if name in _UNSUPPORTED:
            cursor.refuse(f"`${name}`: {_UNSUPPORTED[name]} not supported yet")

    def refuse(reason: str) -> NoReturn:
        reason = _POSITION.sub("", reason.partition("\n")[0]).rstrip(":")
        reason = reason.removeprefix("jq: error: ")
        names = ", ".join(f"${name}" for name in sorted(allowed))
        others = set(_VARIABLE.findall(expression.text)) - allowed
        hint = f" (known here: {names})" if others else ""
        cursor.refuse(f"`{cursor.key}` is no valid jq expression: {reason}{hint}")

    cursor.checks.append((expression.program, refuse))
    return expression


def read_runtime_expression(cursor: Cursor, allowed: frozenset[str]) -> Expression:
    """An expression from a field that may also hold something else: `${ … }`, on one line."""
    if _ENCLOSED.fullmatch(cursor.text()) is None or "\n" in cursor.text().strip():
        cursor.refuse(f"`{cursor.key}` must be one expression ${{ … }}, on one line")
    return read_expression(cursor, allowed)


def read_template(cursor: Cursor, allowed: frozenset[str]) -> Template:
    """Any JSON value in which the texts of the form `${ … }` are expressions."""
    found: list[Expression] = []
    value = _read_template(cursor, allowed, found)
    return Template(value, tuple(found))


def read_transformation(cursor: Cursor, allowed: frozenset[str]) -> Template:
    """What `from` and `as` hold: an expression, or a mapping with expressions in it."""
    if isinstance(cursor.value, str):
        expression = read_expression(cursor, allowed)
        return Template(expression, (expression,))
    cursor.fields()
    return read_template(cursor, allowed)


def _read_template(cursor: Cursor, allowed: frozenset[str], found: list[Expression]) -> Any:
    value = cursor.value
    if isinstance(value, dict):
        return {key: _read_template(cursor.child(key), allowed, found) for key in value}
    if isinstance(value, list):
        return [_read_template(item, allowed, found) for item in cursor.items()]
    if isinstance(value, str) and "${" in value:
        if _ENCLOSED.fullmatch(value) is None:
            cursor.refuse(
                f"`{cursor.key}` mixes text and an expression: make it one expression, "
                r'such as ${ "Hello \(.name)" }'
            )
        expression = read_expression(cursor, allowed)
        found.append(expression)
        return expression
    return value


async def evaluate(
    template: Template, data: Any, arguments: Arguments, evaluator: Evaluator
) -> Any:
    """The template's value on `data`. Raises EvaluationFailed, its message naming the expression.

    `arguments` gives each argument when it is asked for: most expressions use few.
    """
    results: list[Any] = [None] * len(template.expressions)
    hard: list[int] = []
    for index, expression in enumerate(template.expressions):
        if expression.simple is None:
            hard.append(index)
            continue
        try:
            results[index] = expression.simple.look_up(data, arguments)
        except ValueError as error:
            raise EvaluationFailed(f"`{expression.text.strip()}`: {error}") from None
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
    return template.fill(results)

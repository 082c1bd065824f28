"""The expressions and templates of a definition, checked when it is loaded.

Only text that stands in a definition becomes an expression; data never does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace.hints import did_you_mean
from headrace.workflows.expressions import EvaluationFailed, make_expression, variables_in
from headrace.workflows.model import Expression, Template
from headrace.workflows.reading import refused
from headrace.workflows.reading.cursor import Attempts, Cursor, attempts

# Which arguments an expression may use, by where it stands (DSL, "Runtime expression arguments").
WORKFLOW_INPUT = frozenset({"workflow", "runtime"})
WORKFLOW_OUTPUT = WORKFLOW_INPUT | {"context"}
STEP_BEFORE = WORKFLOW_OUTPUT | {"task"}  # `if` and `input.from`
STEP_BODY = STEP_BEFORE | {"input"}  # the step's own fields, and `output.as`
STEP_EXPORT = STEP_BODY | {"output"}
STEP_IF = STEP_BEFORE | {"secrets"}
WITH_SECRETS = STEP_BODY | {"secrets"}  # what a request holds, and `when`

ARGUMENTS = STEP_EXPORT | refused.ARGUMENTS.keys() | {"ENV"}
"""The names that no variable may have: the language's own, and jq's."""

_ENCLOSED = re.compile(r"\s*\$\{(.*)\}\s*", re.DOTALL)
_SECRET = re.compile(r'\$secrets\b(?:\s*\.?\s*\[?\s*"([^"\\]+)"\s*\]?|\s*\.([A-Za-z_]\w*))?')
_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
_JQ_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_POSITION = re.compile(r" at <top-level>, line \d+(, column \d+)?")


def read_expression(cursor: Cursor, allowed: frozenset[str]) -> Expression:
    """An expression from a field that always is one: `${ … }` around it is optional.

    It may use the arguments that are `allowed` and the variables of the loops around it.
    """
    allowed = allowed | cursor.variables
    text = cursor.text()
    enclosed = _ENCLOSED.fullmatch(text)
    expression = make_expression(text if enclosed is None else enclosed[1], allowed)
    for name in variables_in(expression.text):
        if name in refused.ARGUMENTS and name not in allowed:
            cursor.refuse(refused.ARGUMENTS[name])
    if "secrets" in allowed:
        _check_secrets(cursor, expression.text)

    def note(error: EvaluationFailed) -> None:
        reason = _POSITION.sub("", str(error).partition("\n")[0]).rstrip(":")
        reason = reason.removeprefix("jq: error: ")
        names = [f"${name}" for name in sorted(allowed)]
        unknown = [name for name in variables_in(expression.text) if name not in allowed]
        hint = ""
        if "secret" in unknown:
            hint = f" ({refused.SECRET})"
        elif unknown:
            hint = f" (known here: {', '.join(names)}){did_you_mean(f'${unknown[0]}', names)}"
        elif "'" in _JQ_TEXT.sub("", expression.text):
            hint = ": jq texts stand in double quotes"
        cursor.note(f"`{cursor.key}` is not a valid jq expression: {reason}{hint}")

    cursor.findings.checks.append((expression.program, note))
    return expression


def _check_secrets(cursor: Cursor, text: str) -> None:
    """Refuse secrets that are not declared, and a use of all of them."""
    for match in _SECRET.finditer(text):
        name = match[1] or match[2]
        if name is None:
            cursor.refuse(
                'name the secret that is meant: `$secrets.apiKey` or `$secrets["api-key"]`'
            )
        if name not in cursor.findings.secrets:
            cursor.refuse(
                f"`use.secrets` does not declare a secret named {name!r}"
                f"{did_you_mean(name, cursor.findings.secrets)}"
            )


def read_runtime_expression(cursor: Cursor, allowed: frozenset[str]) -> Expression:
    """An expression from a field that may also hold something else: `${ … }`, on one line."""
    if _ENCLOSED.fullmatch(cursor.text()) is None or "\n" in cursor.text().strip():
        cursor.refuse(f"`{cursor.key}` must be one expression ${{ … }}, on one line")
    return read_expression(cursor, allowed)


def read_condition(cursor: Cursor, allowed: frozenset[str]) -> Template:
    """What `if` and `when` hold: an expression."""
    expression = read_expression(cursor, allowed)
    return Template(expression, (expression,))


def read_items(cursor: Cursor, allowed: frozenset[str]) -> Template:
    """What `in` holds: an expression that gives a list, or a list with expressions in it."""
    if isinstance(cursor.value, list):
        return read_template(cursor, allowed)
    return read_condition(cursor, allowed)


def read_variable(fields: Mapping[str, Cursor], key: str, default: str) -> str:
    """The name that a definition gives a variable, where it gives one."""
    if key not in fields:
        return default
    name = fields[key].text()
    if name in ARGUMENTS or not _NAME.fullmatch(name):
        fields[key].note(
            f"`{key}` must be a name of letters, digits and `_` without `$` in front, and none of "
            f"{', '.join(sorted(ARGUMENTS))}, not {name!r}"
        )
    return name


def read_template(cursor: Cursor, allowed: frozenset[str]) -> Template:
    """Any JSON value in which the texts of the form `${ … }` are expressions."""
    found: list[Expression] = []
    with attempts() as part:
        value = _read_template(cursor, allowed, found, part)
    return Template(value, tuple(found))


def read_transformation(cursor: Cursor, allowed: frozenset[str]) -> Template:
    """What `from` and `as` hold: an expression, or a mapping with expressions in it."""
    if isinstance(cursor.value, str):
        expression = read_expression(cursor, allowed)
        return Template(expression, (expression,))
    cursor.fields()
    return read_template(cursor, allowed)


def _read_template(
    cursor: Cursor, allowed: frozenset[str], found: list[Expression], part: Attempts
) -> Any:
    value = cursor.value
    if isinstance(value, dict):
        return {key: _read_template(cursor.child(key), allowed, found, part) for key in value}
    if isinstance(value, list):
        return [_read_template(item, allowed, found, part) for item in cursor.items()]
    if isinstance(value, str) and "${" in value:
        if _ENCLOSED.fullmatch(value) is None:
            cursor.note(
                f"`{cursor.key}` mixes text and an expression: make it one expression, "
                r'such as ${ "Hello \(.name)" }'
            )
            return value
        expression = part(read_expression, cursor, allowed)
        found.append(expression)
        return expression
    return value

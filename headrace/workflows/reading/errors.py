"""Errors in a definition: what `raise` raises and `use.errors` names, and which `catch` catches."""

from __future__ import annotations

import re

from headrace.workflows.model import Template
from headrace.workflows.reading.cursor import Cursor, attempts
from headrace.workflows.reading.expressions import STEP_BODY, read_template

_FIELDS = frozenset({"type", "status", "title", "detail", "instance"})
_FORMS = {
    "type": (re.compile(r"\S+"), "a URI, without spaces"),
    "instance": (re.compile(r"(/([^~/]|~[01])*)*"), "a JSON pointer such as /do/0/step"),
}


def read_error(cursor: Cursor) -> Template:
    """The error's fields; all but `status` may be expressions, on the data of the step."""
    fields = cursor.mapping(_FIELDS, ("type", "status"))
    _check_status(fields["status"])
    with attempts() as part:
        for key in fields.keys() - {"status"}:
            part(_check_text, fields[key])
        return part(read_template, cursor, STEP_BODY)


def read_error_filter(cursor: Cursor) -> Template:
    """What an error's fields must be; each may be an expression, on the data of the step."""
    fields = cursor.mapping(_FIELDS)
    if not fields:
        cursor.refuse(f"`{cursor.key}` is empty: leave it out to catch every error")
    with attempts() as part:
        for key in fields.keys() & _FIELDS:
            if key != "status":
                part(_check_text, fields[key])
            elif not isinstance(fields[key].value, str) or "${" not in fields[key].value:
                _check_status(fields[key])
        return part(read_template, cursor, STEP_BODY)


def _check_status(cursor: Cursor) -> None:
    status = cursor.value
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
        cursor.note(f"`status` must be a number from 100 to 599, not {status!r}")


def _check_text(cursor: Cursor) -> None:
    text = cursor.text()
    if cursor.key in _FORMS and "${" not in text:
        form, what = _FORMS[cursor.key]
        if not form.fullmatch(text):
            cursor.note(f"`{cursor.key}` must be {what}, not {text!r}")

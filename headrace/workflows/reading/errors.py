"""The description of an error in a definition: what `raise` raises, and `use.errors` names."""

from __future__ import annotations

import re

from headrace.workflows.model import Template
from headrace.workflows.reading.cursor import Cursor, attempts
from headrace.workflows.reading.expressions import STEP_BODY, read_template

_FORMS = {
    "type": (re.compile(r"\S+"), "a URI, without spaces"),
    "instance": (re.compile(r"(/([^~/]|~[01])*)*"), "a JSON pointer such as /do/0/step"),
}


def read_error(cursor: Cursor) -> Template:
    """The error's fields; all but `status` may be expressions, on the data of the step."""
    fields = cursor.mapping({"type", "status", "title", "detail", "instance"}, ("type", "status"))
    status = fields["status"].value
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
        fields["status"].note(f"`status` must be a number from 100 to 599, not {status!r}")
    with attempts() as part:
        for key in fields.keys() - {"status"}:
            part(_check_text, fields[key])
        return part(read_template, cursor, STEP_BODY)


def _check_text(cursor: Cursor) -> None:
    text = cursor.text()
    if cursor.key in _FORMS and "${" not in text:
        form, what = _FORMS[cursor.key]
        if not form.fullmatch(text):
            cursor.note(f"`{cursor.key}` must be {what}, not {text!r}")

"""How `call: http` proves who it is: `endpoint.authentication`, and `use.authentications`."""

from __future__ import annotations

from headrace.workflows.expressions import make_expression
from headrace.workflows.model import Authentication, Template
from headrace.workflows.reading import refused
from headrace.workflows.reading.cursor import Cursor, Refused
from headrace.workflows.reading.expressions import WITH_SECRETS, read_template

_FIELDS = {"basic": ("username", "password"), "bearer": ("token",)}


def read_authentication(cursor: Cursor) -> Authentication:
    """One that is described here: `basic` or `bearer`."""
    fields = cursor.mapping(set(_FIELDS), refused=refused.AUTHENTICATIONS)
    given = [key for key in fields if key in _FIELDS]
    if not given and fields.keys() & refused.AUTHENTICATIONS.keys():
        raise Refused
    if len(given) != 1:
        cursor.refuse(f"`{cursor.key}` must have one of `basic` and `bearer`")
    scheme = given[0]
    inner = fields[scheme]
    if "use" in inner.fields():
        name = inner.mapping({"use"})["use"].named(
            cursor.findings.secrets, "`use.secrets` has no secret"
        )
        expression = make_expression(f'$secrets | .["{name}"]', WITH_SECRETS)
        return Authentication(scheme, Template(expression, (expression,)))
    required = _FIELDS[scheme]
    for part in inner.mapping(set(required), required).values():
        part.text()
    return Authentication(scheme, read_template(inner, WITH_SECRETS))

"""The JSON Schemas of a definition, each checked when it is loaded."""

from __future__ import annotations

from headrace.workflows.expressions import EvaluationFailed, make_schema
from headrace.workflows.model import Schema
from headrace.workflows.reading import refused
from headrace.workflows.reading.cursor import Cursor, Refused

_TYPES = "array, boolean, integer, null, number, object, string"


def read_schema(cursor: Cursor, field: str) -> Schema:
    """A schema under `field`, which is `input`, `output` or `export`."""
    required = () if "resource" in cursor.fields() else ("document",)
    fields = cursor.mapping({"format", "document"}, required, refused.SCHEMA)
    if "format" in fields:
        text = fields["format"].text()
        if text.partition(":")[0] != "json":
            fields["format"].refuse(f"schemas are read as `json` (JSON Schema), not as {text!r}")
    if "document" not in fields:
        raise Refused
    document = fields["document"]
    if not isinstance(document.value, dict | bool):
        document.fields()
    schema = make_schema(document.value, f"{field}.schema")

    def note(error: EvaluationFailed) -> None:
        place = document
        for part in error.at:
            place = place.child(part)
        hint = f" (the types are {_TYPES})" if place.key == "type" else ""
        place.note(f"`{place.key}` in `{field}.schema` is not valid JSON Schema: {error}{hint}")

    cursor.findings.checks.append((schema.program, note))
    return schema

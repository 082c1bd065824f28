"""JSON Schemas of definitions: checked and applied where expressions are evaluated.

A pattern, or a `$ref` that leads back, may take longer than anybody waits; the process that a
schema is applied in is ended then, as for an expression.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.workflows.errors import WorkflowError
from headrace.workflows.expressions.child import SCHEMA, EvaluationFailed
from headrace.workflows.expressions.evaluator import Evaluator
from headrace.workflows.model import Schema


class Mismatch(msgspec.Struct, frozen=True, array_like=True):
    """One thing in the data that does not fit: where, as a JSON pointer, and what was expected."""

    pointer: str
    reason: str


def make_schema(document: Any, field: str) -> Schema:
    """A schema that stands under `field`, such as `input.schema`; not checked yet."""
    return Schema(document, SCHEMA + msgspec.json.encode(document).decode(), field)


async def mismatches(schema: Schema, data: Any, evaluator: Evaluator) -> list[Mismatch]:
    """What in the data does not fit, up to a number; empty: it fits. Raises EvaluationFailed."""
    document = msgspec.json.encode({"d": data})
    [found] = await evaluator.evaluate([schema.program], document)
    return msgspec.convert(found, list[Mismatch])


async def validate(schema: Schema, data: Any, evaluator: Evaluator, instance: str) -> None:
    """Raise the language's `validation` error, of the step `instance`, unless the data fits."""
    what = f"the {schema.field.partition('.')[0]} does not fit `{schema.field}`"
    try:
        found = await mismatches(schema, data, evaluator)
    except EvaluationFailed as error:
        raise WorkflowError.standard(
            "validation", f"{what}, as far as it could be checked: {error}", instance=instance
        ) from None
    if found:
        listed = "; ".join(f"{item.pointer or 'as a whole'}: {item.reason}" for item in found)
        raise WorkflowError.standard("validation", f"{what}: {listed}", instance=instance)

"""Schemas: what they check and when, what their errors say, and what is refused at load."""

from __future__ import annotations

import time
from typing import Any

import pytest

from headrace.workflows import DefinitionError, Workflow, parse
from tests.unit.workflows.harness import Bench, define

PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}},
}


def schema(document: Any) -> dict[str, Any]:
    return {"schema": {"format": "json", "document": document}}


def of_step(**fields: Any) -> Workflow:
    return define([{"step": {"set": "${ . }", **fields}}])


async def test_data_that_fits_passes_each_schema_unchanged(bench: Bench) -> None:
    person = schema(PERSON)
    step = {"set": "${ . }", "input": person, "output": person, "export": {**person, "as": "."}}
    workflow = define([{"step": step}], input=person, output=person)
    assert await bench.output(workflow, {"name": "Ada"}) == {"name": "Ada"}


async def test_an_error_names_each_pointer_and_what_was_expected(bench: Bench) -> None:
    error = await bench.error(of_step(input=schema(PERSON)), {"age": 3})
    assert error.type.endswith("/validation")
    assert (error.status, error.instance) == (400, "/do/0/step")
    assert error.detail == (
        'the input does not fit `input.schema`: as a whole: "name" is a required property; '
        "/age: 3 is less than the minimum of 18"
    )


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        # DSL reference, "Input": the raw input is validated, then `from` transforms it.
        (
            {"input": {**schema({"required": ["raw"]}), "from": "{x: 1}"}},
            'the input does not fit `input.schema`: as a whole: "raw" is a required property',
        ),
        # "Output": the output is validated once `as` has transformed it.
        (
            {"output": {**schema({"required": ["made"]}), "as": "{x: 1}"}},
            'the output does not fit `output.schema`: as a whole: "made" is a required property',
        ),
        # "Export": the new context is validated.
        (
            {"export": {**schema({"required": ["kept"]}), "as": "{x: 1}"}},
            'the export does not fit `export.schema`: as a whole: "kept" is a required property',
        ),
    ],
    ids=["input", "output", "export"],
)
async def test_what_is_checked_is_what_the_language_says(
    bench: Bench, fields: Any, detail: str
) -> None:
    error = await bench.error(of_step(**fields), {"made": 1, "kept": 1})
    assert error.detail == detail


async def test_the_workflows_own_schemas_are_checked_first_and_last(bench: Bench) -> None:
    workflow = define([{"step": {"set": {"x": 1}}}], input=schema(PERSON), output=schema(PERSON))
    refused = await bench.error(workflow, {"name": 7})
    assert refused.detail.endswith('/name: 7 is not of type "string"')
    assert (refused.instance, bench.steps) == ("/", [])
    made = await bench.error(workflow, {"name": "Ada"})
    assert made.detail.startswith("the output does not fit `output.schema`")
    assert bench.steps == ["/do/0/step"]


async def test_a_step_that_is_skipped_is_not_checked(bench: Bench) -> None:
    workflow = of_step(**{"if": "false"}, input=schema(False), output=schema(False))
    assert await bench.output(workflow, {"x": 1}) == {"x": 1}


async def test_a_schema_may_be_of_another_draft_and_refer_to_its_own_parts(bench: Bench) -> None:
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"tree": {"items": {"$ref": "#/definitions/tree"}, "type": "array"}},
        "properties": {"tree": {"$ref": "#/definitions/tree"}},
    }
    workflow = of_step(input=schema(document))
    assert await bench.output(workflow, {"tree": [[], [[]]]}) == {"tree": [[], [[]]]}
    error = await bench.error(workflow, {"tree": [[], [0]]})
    assert error.detail.endswith('/tree/1/0: 0 is not of type "array"')


async def test_an_error_is_bounded_whatever_the_data(bench: Bench) -> None:
    document = {"additionalProperties": {"type": "integer"}}
    data = {f"key{n}": "x" * 100_000 for n in range(50)}
    error = await bench.error(of_step(input=schema(document)), data)
    assert len(error.detail) <= 1_000


@pytest.mark.parametrize(
    "document",
    [
        # Minutes in all: linear in the text, with a factor of the pattern's length.
        {"properties": {"text": {"pattern": "[a-z]{0,1000}" * 3 + "[0-9]"}}},
        # Each level of the data is looked at twice as often as the one above.
        {
            "$ref": "#/$defs/node",
            "$defs": {
                f"node{n}": {"anyOf": [{"$ref": f"#/$defs/node{n + 1}"}] * 2} for n in range(60)
            }
            | {"node": {"$ref": "#/$defs/node0"}, "node60": {"required": ["never"]}},
        },
    ],
    ids=["pattern", "references"],
)
async def test_a_schema_that_runs_away_is_ended_and_holds_up_nobody(
    bench: Bench, document: Any
) -> None:
    began = time.monotonic()
    error = await bench.error(of_step(input=schema(document)), {"text": "a" * 1_000_000})
    assert error.type.endswith("/validation")
    assert "as far as it could be checked: it needed more than 1 s of CPU time" in error.detail
    assert time.monotonic() - began < 10
    assert await bench.output(of_step(input=schema(True)), {"x": 1}) == {"x": 1}


TEXT = """\
document: {dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0'}
do:
  - step:
      set: { x: 1 }
      input:
        schema: SCHEMA
"""


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "{ document: { properties: { age: { minimum: '18' } } } }",
            "6:52: task 'step': `minimum` in `input.schema` is not valid JSON Schema: "
            '"18" is not of type "number"',
        ),
        (
            "{ document: { type: strin } }",
            "6:31: task 'step': `type` in `input.schema` is not valid JSON Schema: \"strin\" is "
            "not valid under any of the schemas listed in the 'anyOf' keyword (the types are "
            "array, boolean, integer, null, number, object, string)",
        ),
        (
            "{ document: { pattern: '(' } }",
            "6:31: task 'step': `pattern` in `input.schema` is not valid JSON Schema: "
            '"(" is not a "regex"',
        ),
        (
            "{ document: { $ref: 'https://example.com/order.json' } }",
            "6:19: task 'step': `document` in `input.schema` is not valid JSON Schema: what it "
            "refers to must stand in it, as in #/$defs/name: Resource "
            "'https://example.com/order.json' is not present in a registry and retrieving it "
            "failed: Retrieval is disabled, cannot fetch https://example.com/order.json",
        ),
        (
            "{ document: { $ref: '#/$defs/order' } }",
            "6:19: task 'step': `document` in `input.schema` is not valid JSON Schema: what it "
            "refers to must stand in it, as in #/$defs/name: Pointer '/$defs/order' does not exist",
        ),
        (
            "{ resource: { endpoint: 'https://example.com/order.json' } }",
            "6:19: task 'step': a schema is not fetched from elsewhere: write it here, under "
            "`document`",
        ),
        (
            "{ format: 'avro:1.2', document: {} }",
            "6:19: task 'step': schemas are read as `json` (JSON Schema), not as 'avro:1.2'",
        ),
        (
            "{ format: json }",
            "6:9: task 'step': `document` is missing in `schema`",
        ),
        ("{ document: [] }", "6:19: task 'step': `document` must be a mapping, not a list"),
        (
            "{ document: {} }\n      export: { schema: { document: {} } }",
            "7:7: task 'step': `as` is missing in `export`: without it nothing is exported",
        ),
        (
            "{ documnt: {} }",
            "6:19: task 'step': unknown key 'documnt' in `schema`. Did you mean 'document'?",
        ),
    ],
)
def test_a_wrong_schema_is_refused_with_its_place(written: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(TEXT.replace("SCHEMA", written).encode(), "sample.yaml")
    faults = [str(error) for error in (caught.value, *caught.value.others)]
    assert f"sample.yaml:{message}" in faults

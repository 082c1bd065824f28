"""What we accept, the specification's own schema accepts too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from ruamel.yaml import YAML

from headrace.workflows import DefinitionError, parse
from tests.conformance.kit import conformance_dir
from tests.unit.workflows.harness import define, document
from tests.unit.workflows.strategies import task_lists

SCHEMA = YAML(typ="safe", pure=True).load(conformance_dir() / "schema" / "workflow.yaml")
EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "workflows").iterdir())


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(validator: jsonschema_rs.Draft202012Validator, path: Path) -> None:
    validator.validate(parse(path.read_bytes(), path.name).document)


@settings(max_examples=60, deadline=None)
@given(task_lists)
def test_made_definitions_are_valid(tasks: Any) -> None:
    workflow = define(tasks, timeout={"after": "PT1H"}, output={"as": "."})
    jsonschema_rs.Draft202012Validator(SCHEMA).validate(workflow.document)


# Definitions that are wrong somewhere. The schema's verdict is asked too, so that the list does not
# hold what both accept.
GET = {"method": "get", "endpoint": "https://a/"}
WRONG: list[Any] = [
    [{"a": {"set": {}}}],
    [{"a": {"set": {"x": 1}, "extra": 1}}],
    [{"a": {"set": {"x": 1}, "if": True}}],
    [{"a": {"set": {"x": 1}, "then": 1}}],
    [{"a": {"set": {"x": 1}, "input": {"from": 1}}}],
    [{"a": {"set": {"x": 1}, "output": {"as": ["."]}}}],
    [{"a": {"set": {"x": 1}, "timeout": {"before": {"seconds": 1}}}}],
    [{"a": {"set": {"x": 1}}, "b": {"set": {"x": 1}}}],
    [{}],
    [{"a": {"wait": {}}}],
    [{"a": {"wait": {"seconds": "1"}}}],
    [{"a": {"wait": {"weeks": 1}}}],
    [{"a": {"wait": "1 minute"}}],
    [{"a": {"wait": 5}}],
    [{"a": {"switch": []}}],
    [{"a": {"switch": [{"b": {"when": "."}}]}}],
    [{"a": {"switch": [{"b": {"when": True, "then": "end"}}]}}],
    [{"a": {"switch": [{"b": {"then": "end"}, "c": {"then": "end"}}]}}],
    [{"a": {"raise": {}}}],
    [{"a": {"raise": {"error": {"type": "https://a/"}}}}],
    [{"a": {"raise": {"error": {"type": "https://a/", "status": "400"}}}}],
    [{"a": {"raise": {"error": {"type": "https://a/ b", "status": 400}}}}],
    [{"a": {"raise": {"error": {"type": "https://a/", "status": 400, "code": 1}}}}],
    [{"a": {"for": {"in": "."}}}],
    [{"a": {"for": {}, "do": [{"b": {"set": {"x": 1}}}]}}],
    [{"a": {"for": {"in": 1}, "do": [{"b": {"set": {"x": 1}}}]}}],
    [{"a": {"for": {"in": ".", "each": 1}, "do": [{"b": {"set": {"x": 1}}}]}}],
    [{"a": {"for": {"in": ".", "from": 1}, "do": [{"b": {"set": {"x": 1}}}]}}],
    [{"a": {"for": {"in": "."}, "while": True, "do": [{"b": {"set": {"x": 1}}}]}}],
    [{"a": {"call": "http"}}],
    [{"a": {"call": "http", "with": {"method": "get"}}}],
    [{"a": {"call": "http", "with": {"method": "get", "endpoint": 1}}}],
    [{"a": {"call": "http", "with": {"method": "get", "endpoint": {"url": "https://a/"}}}}],
    [{"a": {"call": "http", "with": {"method": "get", "endpoint": "https://a/ b"}}}],
    [{"a": {"call": "http", "with": GET | {"x": 1}}}],
    [{"a": {"call": "http", "with": GET | {"output": "x"}}}],
    [{"a": {"call": "http", "with": GET | {"headers": {"a": [1]}}}}],
    [{"a": {"call": "http", "with": GET | {"query": {"a": None}}}}],
    [{"a": {"do": {"b": {"set": {"x": 1}}}}}],
    {"a": {"set": {"x": 1}}},
]  # fmt: skip


@pytest.mark.parametrize("tasks", WRONG, ids=str)
def test_what_the_schema_refuses_is_refused(
    validator: jsonschema_rs.Draft202012Validator, tasks: Any
) -> None:
    assert not validator.is_valid(document(tasks))
    with pytest.raises(DefinitionError):
        define(tasks)


TABLE = (
    (Path(__file__).parents[2] / "docs" / "workflows.md")
    .read_text("utf-8")
    .partition("## Every feature of the specification")[2]
)


def _properties(schema: Any) -> set[str]:
    """The names of a schema's own fields, whichever of its forms has them."""
    parts = [schema, *schema.get("allOf", []), *schema.get("oneOf", [])]
    return {name for part in parts for name in part.get("properties", {})}


def test_the_table_of_features_lists_all_that_the_schema_has() -> None:
    definitions = SCHEMA["$defs"]
    calls = {form["title"]: form for form in definitions["callTask"]["oneOf"]}
    http = calls["CallHTTP"]["allOf"][1]["properties"]["with"]
    catch = definitions["tryTask"]["allOf"][1]["properties"]["catch"]
    loop = definitions["forTask"]["allOf"][1]["properties"]["for"]
    retry = definitions["retryPolicy"]
    names = {
        *SCHEMA["properties"],
        *_properties(SCHEMA["properties"]["document"]),
        *_properties(SCHEMA["properties"]["use"]),
        *_properties(SCHEMA["properties"]["schedule"]),
        *_properties(definitions["taskBase"]),
        *(
            name.removesuffix("Task")
            for name in definitions
            if name.endswith("Task") and name != "callTask"
        ),
        *(form["allOf"][1]["properties"]["call"].get("const") for form in calls.values()),
        *_properties(http),
        *_properties(loop),
        *_properties(catch),
        *_properties(retry),
        *_properties(retry["properties"]["backoff"]),
        *_properties(definitions["error"]),
        *_properties(definitions["authenticationPolicy"]),
        *_properties(definitions["runTask"]["allOf"][1]["properties"]["run"]),
    } - {None}
    features = re.findall(r"^\| (.*?) \|", TABLE, re.MULTILINE)
    listed = {
        word
        for feature in features
        for code in re.findall(r"`([^`]+)`", feature)
        for word in re.split(r"\W+", code)
    }
    assert names - listed == set()

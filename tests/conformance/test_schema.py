"""What we accept, the specification's own schema accepts too."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
# What the table of features says of these holds for all that is in them.
REFUSED_WHOLE = {
    *("oauth2", "oidc", "digest", "emit", "listen", "schedule", "extensions", "catalogs"),
    *("container", "script", "shell", "resource"),
}


def _properties(node: Any, seen: set[str]) -> Iterator[str]:
    """The keys that a definition may have, by the schema, but those inside of what is refused."""
    if isinstance(node, list):
        for item in node:
            yield from _properties(item, seen)
    if not isinstance(node, dict):
        return
    reference = node.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        seen.add(reference)
        yield from _properties(SCHEMA["$defs"][reference.removeprefix("#/$defs/")], seen)
    properties = node.get("properties", {})
    if properties.get("call", {}).get("const", "http") != "http":
        return
    for name, inner in properties.items():
        yield name
        if name not in REFUSED_WHOLE:
            yield from _properties(inner, seen)
    for keyword, inner in node.items():
        if keyword not in ("properties", "$defs"):
            yield from _properties(inner, seen)


def test_the_table_of_features_lists_all_that_the_schema_has() -> None:
    definitions = SCHEMA["$defs"]
    names = {
        *_properties(SCHEMA, set()),
        *(name.removesuffix("Task") for name in definitions if name.endswith("Task")),
        *(
            form["allOf"][1]["properties"]["call"].get("const", "call")
            for form in definitions["callTask"]["oneOf"]
        ),
    }
    features = re.findall(r"^\| (.*?) \|", TABLE, re.MULTILINE)
    listed = {
        word
        for feature in features
        for code in re.findall(r"`([^`]+)`", feature)
        for word in re.split(r"\W+", code)
    }
    assert len(names) > 90
    assert names - listed == set()

"""What the OpenAPI document's parts are made of: replies, errors, bodies, parameters."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.contract import problems
from headrace.contract.problems import MEDIA_TYPE, ProblemType
from headrace_api.routes import examples

REACHING_REDIS = (problems.QUEUE_UNAVAILABLE, problems.UPGRADE_NEEDED)


def errors(*kinds: ProblemType) -> dict[int | str, dict[str, Any]]:
    """Responses by status, with an example for each type."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = found.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/ProblemReply"},
                        "examples": {},
                    }
                },
            },
        )
        response["content"][MEDIA_TYPE]["examples"][kind.slug] = {
            "summary": kind.title,
            "value": examples.PROBLEMS[kind.slug],
        }
        titles = filter(None, [response["description"], kind.title])
        response["description"] = "; ".join(titles)
    return found


def reply(value: Any, description: str = "", **more: Any) -> dict[str, Any]:
    """A reply with its example."""
    content = {"application/json": {"example": value}}
    return {"description": description or "OK", "content": content, **more}


def body(model: type[msgspec.Struct], found: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """The body of a request, with examples. Its schemas join `bodies`."""
    (schema,), components = msgspec.json.schema_components(
        [model], ref_template="#/components/schemas/{name}"
    )
    assert "$ref" in schema
    bodies.update(components)
    return {
        "required": required,
        "content": {"application/json": {"schema": schema, "examples": found}},
    }


bodies: dict[str, Any] = {}
"""The schemas of the bodies that msgspec reads; they join the document's components."""


def path(name: str, description: str) -> dict[str, Any]:
    """A variable part of an address."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key again makes no second task. With another body it is a 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

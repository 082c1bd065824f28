"""The OpenAPI document: FastAPI's own, plus keys, errors and the schemas of the lean routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from headrace import __version__
from headrace.contract import ProblemReply, problems
from headrace_api.http.auth import PERMISSIONS, Permission
from headrace_api.http.routing import GuardedRoute, permission_of
from headrace_api.routes import documentation
from headrace_api.routes.describing import bodies, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastapi import FastAPI

DESCRIPTION = """
Background workflows and tasks, queued in Redis.

Errors are `application/problem+json` (RFC 9457), each with a stable `type`. Every reply carries an
`X-Request-ID`: the request's own, or a new one. Times are ISO 8601 in UTC.
"""

_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_COMMON = errors(problems.INTERNAL_ERROR)
_GUARDED = errors(
    problems.UNAUTHORIZED, problems.FORBIDDEN, problems.CROSS_SITE, problems.INVALID_REQUEST
)


def openapi_of(
    app: FastAPI, routes: Sequence[GuardedRoute], root_path: str
) -> Callable[[], dict[str, Any]]:
    """What `app.openapi` is to be: makes the document once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(routes, root_path)
        return app.openapi_schema

    return document


def _document(routes: Sequence[GuardedRoute], root_path: str) -> dict[str, Any]:
    found = get_openapi(
        title="Headrace",
        version=__version__,
        description=DESCRIPTION,
        routes=routes,
        tags=documentation.TAGS,
        servers=[{"url": root_path}] if root_path else None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for route in routes:
        for method in (route.methods or ()) if route.include_in_schema else ():
            _complete(found["paths"][route.path_format][method.lower()], route)
    components = found.setdefault("components", {})
    components["securitySchemes"] = _SECURITY
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(bodies)
    problem = ProblemReply.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemReply"] = problem
    found["components"]["schemas"] = dict(sorted(schemas.items()))
    return found


def _complete(operation: dict[str, Any], route: GuardedRoute) -> None:
    """Summary, key, role and the errors that every route may answer with."""
    # The docstring's first sentence; FastAPI makes a title of the function's name.
    summary, *rest = re.split(r"(?<=\.)\s+", operation["description"], maxsplit=1)
    operation["summary"] = summary
    operation["description"] = "".join(rest)
    responses = operation["responses"]
    for status, described in route.responses.items():
        for media_type, content in described.get("content", {}).items():
            if "example" in content:
                # FastAPI drops what is null in it.
                responses[str(status)]["content"][media_type]["example"] = content["example"]
    if "422" in responses and "application/json" in responses["422"].get("content", {}):
        # FastAPI documents its own form of the error, which is never sent.
        responses["422"] = errors(problems.INVALID_REQUEST)[422]
    _add(responses, _COMMON)
    permission = permission_of(route.endpoint)
    if permission is Permission.OPEN:
        operation["security"] = []
        return
    roles = [str(role) for role, allowed in PERMISSIONS.items() if permission in allowed]
    operation["security"] = [{"bearer": []}, {"header": []}, {}]
    operation["description"] += f"\n\nRoles: {', '.join(roles)}."
    _add(responses, _GUARDED)


def _add(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    for status, response in more.items():
        responses.setdefault(str(status), response)

"""Turns every exception that leaves a route into a problem: one table for the application."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Match

from headrace.contract import is_task_id
from headrace.contract.problems import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    ROUTE_NOT_FOUND,
)
from headrace.logs import get_logger
from headrace.settings import in_words
from headrace.taskqueue import QueueError
from headrace_api.http.middleware import REQUEST_ID_KEY
from headrace_api.http.problems import PlainHttpProblem, Problem, internal_error, problem_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

log = get_logger(__name__)


def install(app: FastAPI) -> None:
    """Register the handlers. What none of them knows is a 500, and logged by the middleware."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(QueueError, _queue_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(request: Request, problem: Problem) -> Response:
    return problem.response(request.url.path, request.scope[REQUEST_ID_KEY])


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _answer(request, internal_error())


async def _queue_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, QueueError)
    problem = problem_of(error)
    if problem.kind is INTERNAL_ERROR:
        log.error("queue.error", error=str(error), request_id=request.scope[REQUEST_ID_KEY])
    return _answer(request, problem)


async def _invalid(request: Request, error: Exception) -> Response:
    """FastAPI's own checks: query parameters and headers; bodies are read in bodies.py."""
    assert isinstance(error, RequestValidationError)
    items = [
        {"detail": in_words(mistake) or mistake["msg"], "parameter": str(mistake["loc"][1])}
        for mistake in error.errors()
    ]
    detail = "; ".join(f"{item['parameter']}: {item['detail']}" for item in items)
    return _answer(request, Problem(INVALID_REQUEST, detail, errors=items))


async def _http(request: Request, error: Exception) -> Response:
    """What the router raises: no such address, or not by this method."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    match error.status_code:
        case 404 if (location := _without_slash(request)) is not None:
            return RedirectResponse(location)
        case 404:
            problem = Problem(
                ROUTE_NOT_FOUND, f"there is nothing at {path}: the addresses are listed at /docs"
            )
        case 405:
            allowed = ", ".join(sorted(_methods(request)))
            problem = Problem(
                METHOD_NOT_ALLOWED,
                f"{path} does not take {request.method}; it takes {allowed}",
                headers={"Allow": allowed},
            )
        case status:
            problem = PlainHttpProblem(status, str(error.detail), error.headers)
    return _answer(request, problem)


def _without_slash(request: Request) -> str | None:
    """Where the same address without its last slash is, if there is anything.

    Path and query alone: behind a proxy nothing of the request tells the scheme or the host that
    the client knows.
    """
    path, root = request.scope["path"], request.scope.get("root_path", "")
    shorter = path.rstrip("/")
    if shorter == path or not _routes(request, shorter):
        return None
    query = request.scope["query_string"].decode("latin-1")
    location = quote(root + shorter.removeprefix(root))
    return f"{location}?{query}" if query else location


def _methods(request: Request) -> set[str]:
    """All methods of an address, as the document lists them: two routes may share their shape.

    `/api/tasks/…` takes GET where a task's id stands, and POST where a task type does. An address
    without variable parts, such as `/api/tasks/counts`, is no task type's.
    """
    routes = _routes(request, request.scope["path"])
    routes = [found for found in routes if not found[1]] or routes
    if {"task_id", "task_type"} <= {name for _, names in routes for name in names}:
        is_id = any(is_task_id(names.get("task_id", "")) for _, names in routes)
        routes = [found for found in routes if ("task_id" in found[1]) is is_id]
    allowed = {method for route, _ in routes for method in getattr(route, "methods", None) or ()}
    return allowed | {"HEAD"} if "GET" in allowed else allowed


def _routes(request: Request, path: str) -> list[tuple[BaseRoute, dict[str, str]]]:
    """The routes that an address has, by any method, and what its variable parts are."""
    scope = {**request.scope, "path": path, "method": "*", "path_params": {}}
    found = [(route, *route.matches(scope)) for route in request.app.router.routes]
    return [
        (route, child.get("path_params", {}))
        for route, match, child in found
        if match is not Match.NONE
    ]

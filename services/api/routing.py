"""How routes are made: each says which permission it needs, and the hot ones skip what they can.

A route without a permission cannot be made: no endpoint is open by oversight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastapi.routing import APIRoute
from starlette.requests import Request

from services.api.auth import Permission
from services.api.context import api_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

Endpoint = TypeVar("Endpoint", bound="Callable[..., Any]")


class _Mark(NamedTuple):
    permission: Permission
    lean: bool


_marks: dict[Callable[..., Any], _Mark] = {}


def needs(permission: Permission, *, lean: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Say which permission an endpoint needs. Stands below the route's decorator.

    A `lean` endpoint is called with the bare request: no dependencies, no model of the body, its
    answer sent as it is. For the routes that take tasks in: FastAPI's way costs more there than
    the submit itself. They check their bodies themselves.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        _marks[endpoint] = _Mark(permission, lean)
        return endpoint

    return mark


def permission_of(endpoint: Callable[..., Any]) -> Permission:
    """What `needs` said. KeyError when it said nothing."""
    return _marks[endpoint].permission


class GuardedRoute(APIRoute):
    """Checks the API key before anything else of the request is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the check."""
        handle = super().get_route_handler()
        permission = permission_of(self.endpoint)

        async def guarded(request: Request) -> Response:
            api_of(request).keys.check(request.headers, permission)
            return await handle(request)

        return guarded

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the short way to a lean endpoint."""
        permission, lean = _marks[self.endpoint]
        if not lean or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        api_of(request).keys.check(request.headers, permission)
        response: Response = await self.endpoint(request)
        await response(scope, receive, send)

"""How routes are made: each says which permission it needs, and the hot ones skip what they can.

A route without a permission cannot be made: no endpoint is open by oversight.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.requests import Request

from headrace.hints import closest
from headrace_api.http.auth import KEY_NAME, Permission
from headrace_api.http.bodies import invalid_parameter
from headrace_api.http.held import IS_HEAD
from headrace_api.http.middleware import REQUEST_ID_KEY
from headrace_api.http.mistakes import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from fastapi.dependencies.models import Dependant
    from starlette.responses import Response
    from starlette.routing import Match
    from starlette.types import Message, Receive, Scope, Send

    from headrace_api.http.auth import KeyRing

    NoteChange = Callable[[str, str, str, str], Awaitable[None]]
    """Notes a change: the key's name, the action, what it was done with, the request's id."""

AUDIT_SUBJECT = "headrace.audit_subject"
"""Where in the scope an endpoint says what it has changed, if its address does not."""

Endpoint = TypeVar("Endpoint", bound="Callable[..., Any]")


class _Mark(NamedTuple):
    permission: Permission
    lean: bool
    action: str


_marks: dict[Callable[..., Any], _Mark] = {}


def needs(
    permission: Permission, *, lean: bool = False, action: str = ""
) -> Callable[[Endpoint], Endpoint]:
    """Say which permission an endpoint needs. Stands below the route's decorator.

    A `lean` endpoint is called with the bare request: no dependencies, no model of the body, its
    answer sent as it is. For the routes that take tasks in: FastAPI's way costs more there than
    the submit itself. They check their bodies themselves.

    `action`: what a change is called that is noted with the key's name once it is made. What it is
    done with is the id in the address, or what the endpoint says under AUDIT_SUBJECT.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        _marks[endpoint] = _Mark(permission, lean, action)
        return endpoint

    return mark


def action_of(endpoint: Callable[..., Any]) -> str:
    """What a change is called; empty: it is not noted."""
    return _marks[endpoint].action


def permission_of(endpoint: Callable[..., Any]) -> Permission:
    """What `needs` said. KeyError when it said nothing."""
    return _marks[endpoint].permission


class GuardedRoute(APIRoute):
    """Checks the API key, and the names in the query, before anything else of a request is read.

    What answers GET answers HEAD as well: the server leaves the body out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        documented = (self.openapi_extra or {}).get("parameters", ())
        self._parameters = (
            *_query_parameters(self.dependant),
            *(parameter["name"] for parameter in documented if parameter["in"] == "query"),
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the route takes this address and method."""
        return super().matches(_as_get(scope) if scope["method"] == "HEAD" else scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, and take the short way to a lean endpoint."""
        if scope["method"] == "HEAD":
            scope = _as_get(scope)
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        permission, lean, action = _marks[self.endpoint]
        request = Request(scope, receive, send)
        keys: KeyRing = request.app.state.keys
        scope[KEY_NAME] = keys.check(request.headers, permission)
        # A probe answers whatever a load balancer adds to its address.
        if scope["query_string"] and permission is not Permission.OPEN:
            _check_query(scope["query_string"], self._parameters)
        if action:
            send = _noting(action, scope, send)
        if not lean:
            await super().handle(scope, receive, send)
            return
        response: Response = await self.endpoint(request)
        await response(scope, receive, send)


def _noting(action: str, scope: Scope, send: Send) -> Send:
    """Notes a change before its reply is sent, unless it was refused or nothing was changed."""

    async def send_noted(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            subject = scope.get(AUDIT_SUBJECT) or next(iter(scope["path_params"].values()), "")
            if subject:
                note: NoteChange = scope["app"].state.note_change
                await note(scope[KEY_NAME], action, subject, scope[REQUEST_ID_KEY])
        await send(message)

    return send_noted


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    """The names that an endpoint takes from the query, and what it depends on."""
    for part in dependant.dependencies:
        yield from _query_parameters(part)
    yield from (field.alias for field in dependant.query_params)


def _as_get(scope: Scope) -> Scope:
    return {**scope, "method": "GET", IS_HEAD: True}


@lru_cache(maxsize=64)
def _check_query(query: bytes, parameters: tuple[str, ...]) -> None:
    """Raise the 422 problem for an unknown parameter: it would silently do nothing."""
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in parameters:
            continue
        meant = closest(name, parameters)
        if meant is not None:
            advice = f"`{meant}` is meant"
        elif parameters:
            advice = f"this address takes {', '.join(parameters)}"
        else:
            advice = "this address takes none"
        raise invalid_parameter(shown(name), f"there is no such parameter: {advice}")

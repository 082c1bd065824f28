"""What happens to every request: one pure ASGI class around the whole application.

Request id in and out, what is no proper request, the path under which a proxy publishes the API,
the body's limit, `Connection: close` while the server stops, the access log line and the metrics.
One class, not five: each layer costs microseconds on every submit.
"""

from __future__ import annotations

import re
import uuid
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from headrace.contract.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    TRANSFER_ENCODING_UNKNOWN,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemType,
)
from headrace.logs import get_logger
from headrace_api.http.auth import KEY_NAME
from headrace_api.http.held import HELD_SECONDS
from headrace_api.http.problems import Problem, internal_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from headrace_api.http.lifecycle import Lifecycle
    from headrace_api.http.metrics import HttpMetrics

log = get_logger(__name__)

REQUEST_ID_KEY = "headrace.request_id"
"""Where in the scope a request's id stands."""

_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}").fullmatch
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII
).fullmatch
"""RFC 3986: a host and a port."""
_POLLED_ROUTES = frozenset(
    {
        *("/healthz", "/readyz", "/api/workflows/queue/stats", "/api/workers"),
        *("/api/tasks/{task_id}", "/api/workflows/tasks/{task_id}"),
    }
)
"""Asked every few seconds, by probes, dashboards and whoever waits for a task's end: a GET that
succeeds is logged at debug level only."""

CLIENT_CLOSED_REQUEST = 499
"""As nginx logs a client that went away before its answer."""


class Edge:
    """Wraps the application. Also the place where an error that nothing else caught is logged."""

    def __init__(
        self,
        app: ASGIApp,
        lifecycle: Lifecycle,
        metrics: HttpMetrics,
        max_body_bytes: int,
        root_path: str = "",
        cors: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        self.app = cors(app)
        self._cors = cors
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        request_id = b""
        length = hosts = 0
        proper = True
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _ACCEPTABLE_ID(value):
                request_id = value
            elif name == b"content-length":
                length = int(value)
            elif name == b"host":
                hosts += 1
                proper = proper and _HOST(value) is not None
            elif name == b"transfer-encoding":
                receive = self._counted(receive)
                proper = False
            elif name == b"content-encoding":
                proper = False
        if not request_id:
            request_id = uuid.uuid4().hex.encode()
        scope[REQUEST_ID_KEY] = request_id.decode()
        if self._root_path:
            scope["root_path"] = self._root_path
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.append((b"x-request-id", request_id))
                if self._lifecycle.stopping:
                    headers.append((b"connection", b"close"))
            await send(message)

        refusal = None if proper and hosts == 1 else _improper(scope)
        if length > self._max_body_bytes:
            refusal = refusal or self._too_large(length)
        try:
            if refusal is None:
                await self.app(scope, receive, send_marked)
            else:
                await self._answer(scope, receive, send_marked, refusal)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        except Exception:
            log.exception("http.error", request_id=scope[REQUEST_ID_KEY], path=scope["path"])
            if not status:
                await self._answer(scope, receive, send_marked, internal_error())
        self._note(scope, status, perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """The access log's line and the metrics."""
        route = route_template(scope)
        seconds -= scope.get(HELD_SECONDS, 0.0)
        self._metrics.observe(scope["method"], route, status, seconds)
        method = scope["method"]
        polled = status < 400 and route in _POLLED_ROUTES and method in ("GET", "HEAD")
        write = log.debug if polled else log.info
        write(
            "http.request",
            method=method,
            path=scope["path"],
            status=status,
            duration_ms=round(seconds * 1000, 3),
            request_id=scope[REQUEST_ID_KEY],
            **({"key": scope[KEY_NAME]} if scope.get(KEY_NAME) else {}),
        )

    def _counted(self, receive: Receive) -> Receive:
        """A body of unknown length is cut off where it passes the limit."""
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise self._too_large(received)
            return message

        return receive_counted

    async def _answer(self, scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
        """As the application would, so that a page of another origin may read it too."""
        response = problem.response(scope["path"], scope[REQUEST_ID_KEY])
        await self._cors(response)(scope, receive, send)

    def _too_large(self, size: int) -> Problem:
        return Problem(
            BODY_TOO_LARGE,
            f"the body has {size} bytes or more, the limit is {self._max_body_bytes}: "
            "store the data elsewhere and send a reference, or raise MAX_BODY_BYTES",
            max_bytes=self._max_body_bytes,
        )


def route_template(scope: Scope) -> str:
    """The matched route's path with its parameters' names, for metrics; `other` for none."""
    return getattr(scope.get("route"), "path", "other")


def _improper(scope: Scope) -> Problem | None:
    """Why a request is none that this server understands: which host it is for, how its body comes.

    Two hosts, or two ways to tell where a body ends, are how a request is smuggled past a proxy.
    """
    fields: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        fields.setdefault(name, []).append(value.lower())
    hosts = fields.get(b"host", [])
    codings = fields.get(b"transfer-encoding", [])
    old = scope["http_version"] == "1.0"
    if len(hosts) != 1 and not (old and not hosts):
        return _closing(BAD_REQUEST, f"a request has one header `Host`, this one has {len(hosts)}")
    if hosts and not _HOST(hosts[0]):
        return _closing(BAD_REQUEST, "the header `Host` must be a host, and its port if need be")
    if codings and (old or codings != [b"chunked"]):
        return _closing(
            TRANSFER_ENCODING_UNKNOWN, "the only `Transfer-Encoding` that is understood is chunked"
        )
    if set(fields.get(b"content-encoding", ())) - {b"", b"identity"}:
        return Problem(
            UNSUPPORTED_MEDIA_TYPE,
            "the body is sent with a `Content-Encoding`: send it as it is",
            headers={"Accept-Encoding": "identity"},
        )
    return None


def _closing(kind: ProblemType, detail: str) -> Problem:
    """Where the next request would begin is doubtful: the connection ends."""
    return Problem(kind, detail, headers={"Connection": "close"})

"""Server-sent events: an answer that goes on until its client leaves or the server stops."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.responses import Response

from headrace_api.http.held import IS_HEAD

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from headrace_api.http.held import Held

HEARTBEAT_SECONDS = 15.0
"""A stream without an event for so long sends a comment, so that no proxy closes it."""

RETRY_MS = 2000
"""How soon a client connects again that has lost its stream."""

MEDIA_TYPE = EventSourceResponse.media_type

_HEADERS = {
    "Cache-Control": "no-store",
    # NGINX sends each event on at once.
    "X-Accel-Buffering": "no",
}


def event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """An event as it is sent. `data` is JSON."""
    return format_sse_event(event=name, data_str=data.decode(), id=event_id)


def last_event_id(request: Request) -> str | None:
    """What a client that comes back has seen last."""
    return request.headers.get("last-event-id")


class EventStream(Response):
    """Sends what `events` yields. It yields at least once a second, b"" when there is nothing."""

    media_type = MEDIA_TYPE

    def __init__(self, held: Held, request: Request, events: AsyncGenerator[bytes]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._held = held
        self._request = request
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the events end, the client goes away, or the server stops."""
        message: dict[str, Any] = {"type": "http.response.body", "more_body": True}
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if IS_HEAD in scope:
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        async with self._held.hold(self._request, None), aclosing(self._events) as events:
            await send(start)
            await send({**message, "body": format_sse_event(retry=RETRY_MS)})
            sent_at = time.monotonic()
            async for sent in events:
                now = time.monotonic()
                if not sent and now - sent_at < HEARTBEAT_SECONDS:
                    continue
                await send({**message, "body": sent or KEEPALIVE_COMMENT})
                sent_at = now
        await send({"type": "http.response.body", "body": b""})

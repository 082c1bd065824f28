"""One client's connection: uvicorn's own, with bounds on what may come before an answer.

uvicorn bounds neither a request's head nor the time that it takes. Here a head has its size, its
time and its number of fields, and what is no proper HTTP is answered with a problem document.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headrace.contract.problems import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    MEDIA_TYPE,
    REQUEST_TIMEOUT,
    TOO_MANY_CONNECTIONS,
)
from headrace.logs import get_logger
from headrace_api.http.problems import BUSY_RETRY_AFTER_SECONDS, Problem

if TYPE_CHECKING:
    from asyncio import BaseTransport

    from headrace_api.http.connections import Places

log = get_logger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's head: its first line and all header fields."""
MAX_FIELDS = 256
"""Header fields of a request: a thousand tiny ones take far more memory than their bytes."""
MAX_PIPELINED = 64
"""Requests that may wait on a connection for the answers to those before them."""
HEAD_SECONDS = 10
"""From a head's first byte, or the connection's beginning, to the head's end."""
BODY_SECONDS = 30
"""Without a byte of a body that is awaited."""
LINGER_SECONDS = 2
"""What still comes after a refusal is read and dropped: else the kernel would drop the answer."""
KEEP_ALIVE_SECONDS = 75
"""An idle connection is closed after so long: later than usual proxies (60 s) do it themselves."""

_PIECE_BYTES = 16 * 1024
"""What comes is parsed in pieces of this size: the parser keeps a field until it is complete."""
_PROBES = (b"/healthz", b"/readyz")


class Protocol(HttpToolsProtocol):
    """A connection. `waited` and `look` do without a timer and a clock for each request."""

    def __init__(self, places: Places, **options: Any) -> None:
        super().__init__(**options)
        self._places = places
        self.headers = []
        self._unseen = 0
        """Bytes since the last head was complete, or the last piece of a body came."""
        self._in_head = False
        self._ending = False
        """What comes is dropped; closed once what was asked before is answered."""
        self._lingering = False
        """A refusal was sent: the client is to read it and to close."""
        self.has_asked = False
        self.waited = 0

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.has_asked or self._lingering or self.cycle.response_complete

    def close(self) -> None:
        """Close it without an answer."""
        self.connections.discard(self)
        self.transport.close()

    def look(self) -> None:
        """Called each second: close it when it has waited too long for its client."""
        self.waited += 1
        if self._lingering:
            if self.waited > LINGER_SECONDS:
                self.close()
        elif not self.idle:
            awaited = self.cycle.more_body and not self.pipeline and not self.flow.read_paused
            if awaited and self.waited > BODY_SECONDS:
                self.close()
        elif self._in_head and self.waited > HEAD_SECONDS:
            self._refuse(
                Problem(REQUEST_TIMEOUT, f"the request's head took longer than {HEAD_SECONDS} s")
            )
        elif self.waited > (KEEP_ALIVE_SECONDS if self.has_asked else HEAD_SECONDS):
            self.close()

    def connection_made(self, transport: BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if not self._places.enter(self, self.connections):  # type: ignore[arg-type]
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._unset_keepalive_if_required()
        if self._ending:
            return
        try:
            if len(data) <= _PIECE_BYTES:
                self._feed(data)
                return
            for start in range(0, len(data), _PIECE_BYTES):
                self._feed(data[start : start + _PIECE_BYTES])
        except httptools.HttpParserError as error:
            # What a callback raised is its context.
            found = error.__context__
            reason = "this is not valid HTTP/1.1"
            self._refuse(found if isinstance(found, Problem) else Problem(BAD_REQUEST, reason))
        except Problem as problem:
            self._refuse(problem)

    def _feed(self, data: bytes) -> None:
        self._unseen += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # it asks for another protocol as well, and is answered in this one
        if self._unseen > MAX_HEAD_BYTES + _PIECE_BYTES:
            raise _too_large()
        if len(self.headers) > MAX_FIELDS:
            raise _too_large()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        super().on_message_begin()
        self._in_head = True
        self.waited = 0

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        self.waited = 0
        if len(self.headers) > MAX_FIELDS or (
            self._unseen > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES
        ):
            raise _too_large()
        self._unseen = 0
        if len(self.connections) > self._places.most and not self._asks_probe():
            raise Problem(
                TOO_MANY_CONNECTIONS,
                f"{self._places.most} connections are open, which is the limit: try again later",
                retry_after_seconds=BUSY_RETRY_AFTER_SECONDS,
            )
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Problem(BAD_REQUEST, f"{MAX_PIPELINED} requests wait on this connection already")
        super().on_headers_complete()
        self.has_asked = True
        # Fields behind a body go here and nowhere else: nothing has checked them.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._unseen = 0
        if not self.cycle.response_complete:
            self.waited = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Called when a request is answered."""
        super().on_response_complete()
        self.waited = 0
        if self._ending and self.idle:
            self.close()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _asks_probe(self) -> bool:
        return self.url.partition(b"?")[0].endswith(_PROBES)

    def _refuse(self, problem: Problem) -> None:
        """Answer and close. What was asked before on this connection is answered first."""
        if not self.idle:
            if not self.cycle.more_body:
                self._ending = True
                return
            if self.pipeline or self.cycle.response_started:
                self.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id = uuid.uuid4().hex
        log.info(
            "http.refused", status=problem.status, reason=problem.detail, request_id=request_id
        )
        body = problem.body("", request_id)
        fields = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "connection": "close",
            "x-request-id": request_id,
            **problem.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.transport.write(STATUS_LINE[problem.status] + head.encode() + b"\r\n" + body)
        self.transport.write_eof()
        self._ending = self._lingering = True
        self.waited = 0


def _too_large() -> Problem:
    return Problem(
        HEAD_TOO_LARGE,
        f"the request's first line and its headers may have {MAX_HEAD_BYTES} bytes and "
        f"{MAX_FIELDS} fields: send what is larger in the body",
        max_bytes=MAX_HEAD_BYTES,
    )

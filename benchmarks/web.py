"""How many requests a second a web server answers on 50 connections that stay open."""

from __future__ import annotations

import asyncio
import time
from typing import cast

CONNECTIONS = 50
GRACE_SECONDS = 10.0
"""So long after the slice's end the last replies are awaited."""


class Client(asyncio.Protocol):
    """One connection: sends the same request again as soon as the reply is complete."""

    def __init__(self, request: bytes, ends: float) -> None:
        self.answered = 0
        self.milliseconds: list[float] = []
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._ends = ends
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._buffer += data
        length = reply_length(self._buffer)
        if length is None or len(self._buffer) < length:
            return
        now = time.perf_counter()
        if self._buffer[9:10] != b"2":
            self._fail(f"refused: {self._buffer[:600].decode(errors='replace')}")
            return
        self._buffer = self._buffer[length:]
        if now < self._ends:
            self.answered += 1
            self.milliseconds.append((now - self._sent_at) * 1000)
            self._send()
        elif not self.finished.done():
            self.finished.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if not self.finished.done():
            self._fail("the server closed the connection")

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def _fail(self, why: str) -> None:
        self.finished.set_exception(RuntimeError(why))
        self._transport.abort()


def reply_length(data: bytes) -> int | None:
    """The whole length of the HTTP reply that `data` begins with; None while that is unknown."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    for line in data[:end].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return end + 4 + int(value)
    raise ValueError("the reply has no Content-Length")


def post(path: str, body: bytes) -> bytes:
    """A POST request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def requests(port: int, request: bytes, seconds: float) -> tuple[float, list[float]]:
    """Replies a second, and how many milliseconds each took."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    ends = began + seconds
    clients: list[Client] = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(lambda: Client(request, ends), "127.0.0.1", port)
        clients.append(client)
    async with asyncio.timeout(seconds + GRACE_SECONDS):
        await asyncio.gather(*(client.finished for client in clients))
    answered = sum(client.answered for client in clients)
    return answered / seconds, [ms for client in clients for ms in client.milliseconds]

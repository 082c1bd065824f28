"""A proxy before the API that cuts, refuses and hangs, by a seed."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from typing import Literal, Self

Fate = Literal["pass", "cut before", "cut the reply", "lose the reply", "cut after", "503", "hang"]

REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


class ChaoticProxy:
    """Forwards each request to the API, or does what its fate wants. Runs in a thread of its own.

    Args:
        port: the API's.
        weights: how often each fate comes.
        seed: of the fates.
        hang_seconds: how long a request hangs before its connection is closed.
    """

    def __init__(
        self, port: int, weights: dict[Fate, float], *, seed: int, hang_seconds: float
    ) -> None:
        self.fates: Counter[Fate] = Counter()
        self.port = 0
        self._upstream = port
        self._weights = weights
        self._random = random.Random(seed)
        self._hang_seconds = hang_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side has gone
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection stays open."""
        request = await _message(reader)
        [fate] = self._random.choices(list(self._weights), list(self._weights.values()))
        self.fates[fate] += 1
        if fate == "cut before":
            return False
        if fate == "503":
            writer.write(REFUSAL)
            await writer.drain()
            return True
        if fate == "hang":
            await asyncio.sleep(self._hang_seconds)
            return False
        reply = await self._forwarded(request)
        if fate == "lose the reply":
            return False
        writer.write(reply[: len(reply) // 2] if fate == "cut the reply" else reply)
        await writer.drain()
        return fate == "pass"

    async def _forwarded(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A request or a reply: its head, and the body whose length the head says."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head

"""Serves the application, and stops so that no client sees a broken request.

A client with a kept connection may send a request at any moment, also at the moment when the
server closes that connection; then it gets no answer, and does not know whether it was carried
out. The only safe way to end a connection is to answer a request with `Connection: close`. So the
stop has four steps:

1. Requests that are held open are answered. For `SHUTDOWN_DELAY_SECONDS` everything else is served
   as before, but each reply ends its connection. `/readyz` says 503 and load balancers send new
   connections elsewhere.
2. No new connections: handshakes are no longer answered, those already made are taken in, and the
   listener is closed with an empty queue. A listener that is simply closed resets what waits in it.
3. Connections that stayed idle all the time get `IDLE_SECONDS` more to send a last request.
4. Running requests end. Then the process does.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import math
import os
import socket
import struct
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from headrace.logs import get_logger
from headrace_api.http.connections import places
from headrace_api.http.protocol import KEEP_ALIVE_SECONDS, Protocol

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp

    from headrace.settings import ApiSettings
    from headrace_api.http.lifecycle import Lifecycle

log = get_logger(__name__)

HANDSHAKE_SECONDS = 0.2
"""Between the last handshake that is answered and the listener's end: some round trips."""
IDLE_SECONDS = 1.0
"""For connections that have sent nothing since the stop began."""
ENDING_SECONDS = 5
"""What running requests have beyond the longest inline run."""
TICK_SECONDS = 0.02
BACKLOG = 2048


class CannotListen(Exception):
    """The address cannot be bound."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        # `create_server` adds the address to the error's text, which names it here already.
        number = error.errno or 0  # negative where the name could not be resolved
        reason = os.strerror(number) if number > 0 else error.strerror
        super().__init__(
            f"cannot listen on {host}:{port} ({reason or error}): "
            "stop what uses it, or set HOST and PORT"
        )


class Server(uvicorn.Server):
    """uvicorn with the stop described above; a signal that asks for it is not a failure: exit 0."""

    def __init__(self, app: ASGIApp, settings: ApiSettings, lifecycle: Lifecycle) -> None:
        self._places = places(settings.max_connections)
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Protocol, self._places),  # type: ignore[arg-type]
                loop="auto",  # uvloop where it is installed
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(settings.inline_timeout_seconds)
                + ENDING_SECONDS,
            )
        )
        self._lifecycle = lifecycle
        self._delay_seconds = settings.shutdown_delay_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called on SIGTERM and SIGINT. Not handed on to uvicorn, which would die of the signal."""
        self._lifecycle.stop()
        self.should_exit = True
        self.force_exit = self._lifecycle.hurried

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where, once it listens."""
        await super().startup(sockets)
        for listener in sockets or []:
            host, port, *_ = listener.getsockname()
            shown = f"[{host}]" if ":" in host else host
            log.info("api.listening", url=f"http://{shown}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """All four steps."""
        log.info("api.stopping", delay_seconds=self._delay_seconds)
        self._lifecycle.stopped()
        await self._sleep(self._delay_seconds)
        await self._stop_listening(sockets or [])
        await self._sleep(IDLE_SECONDS, while_connected=True)
        await super().shutdown()
        log.info("api.stopped")

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second: once a second each connection is looked at."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Protocol)
                connection.look()
            self._places.report()
        return await super().on_tick(counter)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        for listener in sockets:
            refuse_handshakes(listener)
        await self._sleep(HANDSHAKE_SECONDS)
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()

    async def _sleep(self, seconds: float, *, while_connected: bool = False) -> None:
        """Wait and go on serving: until the time is over, nobody is connected, or we hurry."""
        end = time.monotonic() + seconds
        ticks = 0
        while time.monotonic() < end and not self._lifecycle.hurried:
            if while_connected and not self.server_state.connections:
                return
            if ticks * TICK_SECONDS % 1.0 < TICK_SECONDS:
                await self.on_tick(0)
            ticks += 1
            await asyncio.sleep(TICK_SECONDS)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address that a host name has here. Port 0: any free one, the same for all.

    Raises CannotListen.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(host, port, error) from None
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(addresses):
        try:
            bound = socket.create_server(
                (address[0], port),
                family=family,
                backlog=BACKLOG,
                dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                absent = error  # `localhost` has an IPv6 address also where there is no IPv6
                continue
            for listener in sockets:
                listener.close()
            raise CannotListen(host, port, error) from None
        bound.setblocking(False)
        sockets.append(bound)
        port = bound.getsockname()[1]
    if not sockets and absent is not None:
        raise CannotListen(host, port, absent)
    return sockets


_SO_ATTACH_FILTER = 26
_DROP_NEW_HANDSHAKES = (
    # Classic BPF, run by the kernel on each TCP segment that reaches the listener. A segment with
    # SYN and without ACK begins a handshake: it is dropped, and the client tries again in a second.
    (0x30, 0, 0, 13),  # A = byte 13 of the TCP header: the flags
    (0x54, 0, 0, 0x12),  # A = A & (ACK | SYN)
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # yes: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # no: accept
)


def refuse_handshakes(listener: socket.socket) -> None:
    """Let no new connection into a listener's queue; those under way still get there.

    Linux only. Elsewhere a connection may be reset in the moment when the listener is closed.
    """
    if sys.platform != "linux":
        return
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW_HANDSHAKES)
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HL", len(_DROP_NEW_HANDSHAKES), ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError as error:
        log.info("api.handshakes_not_refused", error=str(error))

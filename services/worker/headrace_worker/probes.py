"""Liveness, readiness and a metric, served in a thread of their own: a blocked event loop does not
answer for itself.

A worker is alive when it is full, draining, or cut off from Redis: to restart it would help
nobody. It is dead when it hangs: a call that it has begun stays unanswered although Redis answers
others, or it has a free slot and has stopped asking for work. It is ready from its first
registration on.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

SILENCE_SECONDS = 30.0
"""So long a call may stay unanswered, or a free slot idle, before the worker counts as hung."""


class Signs(msgspec.Struct, frozen=True):
    """What liveness is judged by."""

    call: str | None
    """The call to Redis that has been under way longest; None: none is."""
    call_seconds: float
    """For how long."""
    should_ask: bool
    """A slot is free, and the worker is neither draining nor ending."""
    silent_seconds: float
    """How long it could have asked for tasks and did not."""


def fault(
    signs: Signs, redis_answers: Callable[[], bool], silence_seconds: float = SILENCE_SECONDS
) -> str | None:
    """Why the worker counts as hung, in a sentence; None: it is alive.

    `redis_answers` makes a fresh connection. It is asked only when a call is overdue.
    """
    if signs.should_ask and signs.silent_seconds >= silence_seconds:
        return f"a slot is free, and no task was asked for in {signs.silent_seconds:.0f} s"
    if signs.call is not None and signs.call_seconds >= silence_seconds and redis_answers():
        return (
            f"the call {signs.call!r} has had no answer for {signs.call_seconds:.0f} s, although "
            "Redis answers a fresh connection"
        )
    return None


class Probes:
    """An HTTP server with `/healthz`, `/readyz` and `/metrics`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        signs: Callable[[], Signs],
        redis_answers: Callable[[], bool],
        ready: Callable[[], bool],
        blocked_seconds: Callable[[], Mapping[str, float]] = dict,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """Bind the port. Raises OSError when it is taken."""

        class Handler(_Handler):
            probes = self

        self._signs = signs
        self._redis_answers = redis_answers
        self._ready = ready
        self._blocked_seconds = blocked_seconds
        self._silence_seconds = silence_seconds
        family = socket.AF_INET6 if ":" in host else socket.AF_INET

        class Server(ThreadingHTTPServer):
            address_family = family
            daemon_threads = True

        self._server = Server((host, port), Handler)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_port

    def start(self) -> None:
        """Serve, in a daemon thread."""
        threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text for a path."""
        if path == "/healthz":
            problem = fault(self._signs(), self._redis_answers, self._silence_seconds)
            return (200, "alive") if problem is None else (503, problem)
        if path == "/readyz":
            if self._ready():
                return 200, "ready"
            return 503, "not registered yet: Redis has not been reached since the start"
        if path == "/metrics":
            return 200, _exposition(self._blocked_seconds())
        return 404, "there are /healthz, /readyz and /metrics"


def _exposition(blocked_seconds: Mapping[str, float]) -> str:
    """What Prometheus reads. No name of a task type needs escaping."""
    name = "headrace_worker_loop_blocked_seconds_total"
    return "\n".join(
        [
            f"# HELP {name} How long handlers of a task type blocked the event loop.",
            f"# TYPE {name} counter",
            *(f'{name}{{type="{it}"}} {seconds:.3f}' for it, seconds in blocked_seconds.items()),
        ]
    )


class _Handler(BaseHTTPRequestHandler):
    probes: Probes
    timeout = 5.0  # a client that says nothing keeps its thread no longer

    def do_GET(self) -> None:
        status, text = self.probes.answer(self.path.partition("?")[0])
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Probes come every few seconds and are no news."""

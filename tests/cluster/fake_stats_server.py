"""A stats endpoint that misbehaves as it is told: a program of its own, in a pod.

Each first part of a path is an endpoint with a mode of its own, in which a GET of
`/NAME/api/workflows/queue/stats` is answered. `PUT /` with `{NAME: {"mode": …, "queued": {QUEUE:
COUNT}}}` changes some of them. It needs nothing but Python: `python fake_stats_server.py PORT`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

AGE_SECONDS = 90.0
"""How old an old reading is."""
PATIENCE_SECONDS = 600.0
"""What hangs ends at last."""
QUEUE: dict[str, Any] = {
    "queue_length": 0,
    "running": 0,
    "delayed": 0,
    "due_soon": 0,
    "oldest_age_seconds": None,
    "arrivals_per_minute": 0.0,
    "completions_per_minute": 0.0,
    "failures_per_minute": 0.0,
    "retries_per_minute": 0.0,
    "crashes_per_minute": 0.0,
    "failure_rate": None,
    "service_seconds_mean": None,
    "queue_length_retries": 0,
    "arrivals_total": 0,
    "completions_total": 0,
    "failures_total": 0,
    "retries_total": 0,
    "crashes_total": 0,
    "service_seconds_total": 0.0,
}


class Endpoint:
    """What one of them answers."""

    def __init__(self) -> None:
        self.mode = "well"
        self.queued: dict[str, int] = {}
        self.since = time.time()
        """When the mode was set."""

    def change(self, mode: str, queued: dict[str, int] | None = None) -> None:
        """Another mode; other queues, if any are given."""
        self.mode, self.since = mode, time.time()
        self.queued = self.queued if queued is None else queued

    def answer(self) -> tuple[int, bytes]:
        """Status and body, but for the modes that never come to an end."""
        now = time.time()
        match self.mode:
            case "garbage":
                return 200, b'{"enabled": true, "queues": '
            case "unavailable":
                return 503, json.dumps({"enabled": True, "available": False}).encode()
            case "disabled":
                return 200, json.dumps({"enabled": False, "queues": {}}).encode()
            case "refusing":
                return 401, json.dumps({"title": "Unauthorized", "status": 401}).encode()
            case "old":
                return 200, json.dumps(self.stats(now - AGE_SECONDS)).encode()
            case "still":
                return 200, json.dumps(self.stats(self.since)).encode()
            case "missing":
                stats = self.stats(now)
                for queue in stats["queues"].values():
                    del queue["running"]
                return 200, json.dumps(stats).encode()
        return 200, json.dumps(self.stats(now)).encode()

    def stats(self, at: float) -> dict[str, Any]:
        """A reply as the API makes it, of queues in which tasks wait and of no worker."""
        return {
            "enabled": True,
            "available": True,
            "at": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
            "version": 1,
            "epoch": "fake",
            "queues": {name: {**QUEUE, "queue_length": n} for name, n in self.queued.items()},
            "workers": [],
        }


class Endpoints:
    """All of them. `changed` is notified with each change."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._by_name: dict[str, Endpoint] = {}

    def of(self, path: str) -> Endpoint:
        """The one that a path leads to."""
        return self._by_name.setdefault(path.split("/")[1], Endpoint())

    def change(self, changes: dict[str, dict[str, Any]]) -> None:
        """Change those that are named."""
        with self.changed:
            for name, change in changes.items():
                self.of(f"/{name}").change(**change)
            self.changed.notify_all()

    def wait_for_change(self, endpoint: Endpoint, seconds: float) -> bool:
        """Whether the endpoint has another mode within so many seconds."""
        mode = endpoint.mode
        with self.changed:
            return self.changed.wait_for(lambda: endpoint.mode != mode, seconds)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    endpoints = Endpoints()

    def do_GET(self) -> None:
        """The stats."""
        endpoint = self.endpoints.of(self.path)
        if endpoint.mode == "hanging":
            self.endpoints.wait_for_change(endpoint, PATIENCE_SECONDS)
            self.close_connection = True
        elif endpoint.mode == "dripping":
            self._drip(endpoint)
        else:
            self._reply(*endpoint.answer())

    def do_POST(self) -> None:
        """Drain marks: no worker is known."""
        self._reply(404, b'{"title": "Not Found", "status": 404}')

    def do_PUT(self) -> None:
        """Changes of modes."""
        length = int(self.headers["Content-Length"])
        self.endpoints.change(json.loads(self.rfile.read(length)))
        self._reply(200, b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: many ask each second."""

    def _drip(self, endpoint: Endpoint) -> None:
        """A reply whose bytes come one by one: no single wait is long, and none is the last."""
        self._begin(200, 1_000_000)
        self.close_connection = True
        try:
            while not self.endpoints.wait_for_change(endpoint, 0.5):
                self.wfile.write(b" ")
        except OSError:
            return

    def _begin(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _reply(self, status: int, body: bytes) -> None:
        self._begin(status, len(body))
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A thread for each connection; one that breaks off is no event."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks may go at any time."""


def main() -> None:
    """Serve until the pod ends."""
    Server(("", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""What `run.py` starts: settings, logs, the application, the server."""

from __future__ import annotations

import asyncio
import socket
import sys

from headrace import logs
from headrace.client.opening import check_server
from headrace.handlers import LoopWatch, RegistrationError, guard_forks, leave_within, run
from headrace.settings import ApiSettings, load, warn_near_misses
from headrace.taskqueue import QueueError
from headrace_api.application import CLIENT_NAME, edge, new_api, new_app
from headrace_api.http.server import CannotListen, Server, listen

log = logs.get_logger(__name__)


def main() -> None:
    """Serve until SIGTERM or SIGINT. What cannot work is said in a sentence, with status 2."""
    settings = load(ApiSettings)
    logs.configure(settings.logs.level, settings.logs.format)
    for sentence in warn_near_misses():
        log.warning("settings.near_miss", hint=sentence)
    try:
        api = new_api(settings)
        if settings.queue.enabled:
            asyncio.run(check_server(settings.queue, CLIENT_NAME))
        sockets = listen(settings.host, settings.port)
    except (RegistrationError, CannotListen, QueueError, ValueError) as error:
        sys.stderr.write(f"api: {error}\n")
        sys.exit(2)
    guard_forks()
    run(_serve(Server(edge(api, new_app(api)), settings, api.lifecycle), sockets))


async def _serve(server: Server, sockets: list[socket.socket]) -> None:
    watch = LoopWatch()
    watch.start()
    await server.serve(sockets)
    watch.end()
    # The thread of a sync handler past its time cannot be killed, and Python would wait for it.
    leave_within(0, asyncio.get_running_loop())

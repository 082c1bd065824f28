"""What all clients and workers of an installation share: where its Redis is, and its rules."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.taskqueue.keys import Keys
from headrace.taskqueue.redis import locate
from headrace.taskqueue.redis.blocking import BlockingLink
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.redis.url import Target
from headrace.taskqueue.scripts import all_scripts

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation of the queue, as a process knows it from its settings."""

    keys: Keys
    target: Target
    lease_ms: int
    """How long a worker holds a task without renewing its lease."""
    retention_seconds: int
    """How long the record of an ended task is kept."""
    timeout_seconds: float
    """A call without an answer for so long fails."""
    client_name: str
    """Shown by Redis's CLIENT LIST."""

    def link(self) -> Link:
        """A new pipelined connection, all scripts loaded."""
        return locate.link(
            self.target,
            all_scripts(),
            client_name=self.client_name,
            timeout_seconds=self.timeout_seconds,
        )

    def blocking_link(self, timeout_seconds: float | None = None) -> BlockingLink:
        """A new connection for threads, and for programs without an event loop."""
        return locate.blocking_link(
            self.target,
            all_scripts(),
            client_name=self.client_name,
            timeout_seconds=timeout_seconds or self.timeout_seconds,
        )

    def subscription(self, channel: str) -> AbstractAsyncContextManager[PubSub]:
        """A connection that hears what is published on a channel from now on."""
        return locate.subscription(
            self.target,
            channel,
            client_name=self.client_name,
            timeout_seconds=self.timeout_seconds,
        )

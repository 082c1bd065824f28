"""Opens the client for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace.cli.exits import errors_ended

if TYPE_CHECKING:
    from headrace.client.sync_client import Client

RETRY_SECONDS = 3.0
"""A command asks again for so long while the API is away: somebody sits there and waits."""
WAIT_RETRY_SECONDS = 30.0
"""The same of a command that waits for a task: the API may restart meanwhile."""


@contextmanager
def connected(profile: str | None, *, waiting: bool = False) -> Iterator[Client]:
    """The client of a profile. Errors end the command, each with its exit status."""
    with errors_ended():
        from headrace.client.sync_client import Client

        retry_seconds = WAIT_RETRY_SECONDS if waiting else RETRY_SECONDS
        with Client(profile=profile, retry_seconds=retry_seconds) as client:
            yield client

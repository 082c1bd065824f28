"""How long a connection may take, how many there may be, and which goes when there are too many.

A connection that asks nothing costs a file descriptor, and a process has only so many. So each has
a time for its request, and when all places are taken the connections that ask nothing go first,
the longest waiting before the others. A few places more are kept for probes.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Protocol

from headrace.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection

log = get_logger(__name__)

PROBE_PLACES = 64
"""Connections beyond the limit that are taken in: probes are answered on them, all else is not."""
OTHER_DESCRIPTORS = 200
"""What the process needs beside its clients: Redis, calls of workflows, files, metrics."""
ROOM = 32
"""So many are closed at once when all places are taken, so that not each newcomer looks for one."""


class ClientConnection(Protocol):
    """What is asked of a connection here."""

    waited: int
    """Seconds since it last came further."""
    has_asked: bool
    """Whether a request has come on it."""

    @property
    def idle(self) -> bool:
        """Whether no request of it is being answered."""

    def close(self) -> None:
        """Close it without an answer, and take it from the others."""


class Places:
    """How many connections there may be."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Beyond it a connection is served probes only."""
        self._closed = 0

    def enter(self, newcomer: ClientConnection, connections: Collection[ClientConnection]) -> bool:
        """Make room for one that has just come. False: there is none, not even for a probe.

        Those that have never sent a request go first; the others may be clients between two.
        """
        excess = len(connections) - self.most
        if excess <= 0:
            return True
        idle = [
            connection
            for connection in connections
            if connection.idle and connection is not newcomer
        ]
        idle.sort(key=lambda connection: (connection.has_asked, -connection.waited))
        leaving = idle[: excess + ROOM]
        for connection in leaving:
            connection.close()
        self._closed += len(leaving)
        return excess - len(leaving) <= PROBE_PLACES

    def report(self) -> None:
        """Log how many were closed since the last report."""
        if self._closed:
            log.warning(
                "api.connections_full",
                max_connections=self.most,
                closed=self._closed,
                hint="raise MAX_CONNECTIONS if these are clients of yours",
            )
        self._closed = 0


def places(max_connections: int) -> Places:
    """Raise this process's limit of descriptors as far as needed and allowed; what fits then."""
    needed = max_connections + PROBE_PLACES + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < needed:
        soft = needed if hard == infinite else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < needed:
            most = max(soft - PROBE_PLACES - OTHER_DESCRIPTORS, 1)
            log.warning(
                "api.few_descriptors",
                descriptors=soft,
                max_connections=most,
                hint="raise the limit of open files (ulimit -n, LimitNOFILE), or lower "
                "MAX_CONNECTIONS",
            )
            return Places(most)
    return Places(max_connections)

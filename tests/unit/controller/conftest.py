"""What several tests of the operator need."""

from __future__ import annotations

import socket

import pytest
import structlog


@pytest.fixture(autouse=True)
def own_logs() -> None:
    """As in a process of the operator's own: other tests may have set structlog up for theirs."""
    structlog.reset_defaults()


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port

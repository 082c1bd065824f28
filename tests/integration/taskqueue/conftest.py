"""A queue on a real server for each test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.taskqueue.rig import Rig
from tests.keyspace import unexpected_keys

if TYPE_CHECKING:
    from tests.servers import RedisServer

RigFactory = Callable[..., Rig]


@pytest.fixture
async def rig(server: RedisServer) -> AsyncIterator[Rig]:
    """A queue on the default server; at the end no key may lack the expiry that it should have."""
    rig = Rig(server)
    yield rig
    await rig.close()
    assert unexpected_keys(server) == []


@pytest.fixture
async def any_rig(any_server: RedisServer) -> AsyncIterator[Rig]:
    """As `rig`, once on each kind of server."""
    rig = Rig(any_server)
    yield rig
    await rig.close()
    assert unexpected_keys(any_server) == []


@pytest.fixture
async def new_rig() -> AsyncIterator[RigFactory]:
    """`new_rig(server, lease_seconds=0.3)`: a queue with options of its own."""
    rigs: list[Rig] = []

    def make(server: RedisServer, **options: Any) -> Rig:
        rigs.append(Rig(server, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.close()

"""These tests run on uvloop, as the services do; marked tests on asyncio's loop too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from headrace.taskqueue.redis.connection import Endpoint
from tests.integration.taskqueue.redis.links import CountingLink, LinkFactory


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    marker = item.get_closest_marker("asyncio")
    if marker is not None and "loop_factories" in marker.kwargs:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def new_link() -> AsyncIterator[LinkFactory]:
    """Links, closed in the end: `new_link(at(server), timeout_seconds=5)`."""
    made: list[CountingLink] = []

    def new(*endpoints: Endpoint, **options: Any) -> CountingLink:
        made.append(CountingLink(*endpoints, **options))
        return made[-1]

    yield new
    for link in made:
        link.close()
    await asyncio.sleep(0.01)  # the event loop closes the sockets

"""Opens what a client speaks by: to the API, or to Redis directly."""

from __future__ import annotations

from typing import Any, Protocol

from pydantic import ValidationError

from headrace.client.address import Address
from headrace.client.calls import Calls
from headrace.client.errors import ConfigInvalid
from headrace.client.http_calls import HttpCalls
from headrace.client.steps import Rules

CLIENT_NAME = "headrace-client"
"""Shown by Redis's CLIENT LIST."""


class Transport(Protocol):
    """Performs the steps of programs, one call after the other."""

    def perform(self, step: Any) -> Any:
        """What a step brings. Raises HeadraceError or QueueError."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class AsyncTransport(Protocol):
    """Performs the steps of programs on an event loop."""

    async def perform(self, step: Any) -> Any:
        """What a step brings. Raises HeadraceError or QueueError."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def open_blocking(address: Address, rules: Rules) -> tuple[Transport, Calls]:
    """For `Client`. Nothing is connected yet. Raises ConfigInvalid."""
    if address.is_http:
        from headrace.client.http import HttpTransport

        return HttpTransport(address), HttpCalls(str(address), rules)
    from headrace.client.opening import new_blocking_queue
    from headrace.client.redis import RedisTransport
    from headrace.client.redis_calls import RedisCalls

    queue = _opened(new_blocking_queue, address)
    return RedisTransport(queue), RedisCalls(rules)


def open_async(address: Address, rules: Rules) -> tuple[AsyncTransport, Calls]:
    """For `AsyncClient`. Nothing is connected yet. Raises ConfigInvalid."""
    if address.is_http:
        from headrace.client.http import AsyncHttpTransport

        return AsyncHttpTransport(address), HttpCalls(str(address), rules)
    from headrace.client.opening import new_queue
    from headrace.client.redis import AsyncRedisTransport
    from headrace.client.redis_calls import RedisCalls

    return AsyncRedisTransport(_opened(new_queue, address)), RedisCalls(rules)


def _opened(opening: Any, address: Address) -> Any:
    """The queue with the settings that the API and the workers have: QUEUE_NAMESPACE and so on."""
    from headrace.settings.clients import DirectSettings
    from headrace.settings.loading import sentences

    try:
        settings = DirectSettings().queue
        return opening(settings.model_copy(update={"redis_url": address.url}), CLIENT_NAME)
    except ValidationError as error:
        raise ConfigInvalid("; ".join(sentences(DirectSettings, error))) from None
    except ValueError as error:
        raise ConfigInvalid(str(error)) from None

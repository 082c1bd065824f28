"""Sends requests to the API: over a blocking connection, or on an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import httpx2

import headrace
from headrace.client.address import Address
from headrace.client.errors import Unavailable
from headrace.client.steps import HttpRequest, HttpResponse, Sleep

CONNECT_SECONDS = 5.0


def _options(address: Address) -> dict[str, Any]:
    headers = {"Accept": "application/json", "User-Agent": f"headrace/{headrace.__version__}"}
    if address.api_key is not None:
        headers["Authorization"] = f"Bearer {address.api_key}"
    # Each thread or task that waits takes a connection.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    return {"headers": headers, "limits": limits}


def _sendable(url: str, request: HttpRequest) -> dict[str, Any]:
    headers = dict(request.headers)
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    return {
        "method": request.method,
        "url": url + request.path,
        "params": request.query or None,
        "content": request.body,
        "headers": headers,
        "timeout": httpx2.Timeout(request.timeout_seconds, connect=CONNECT_SECONDS),
    }


def _response(reply: httpx2.Response) -> HttpResponse:
    return HttpResponse(reply.status_code, reply.headers, reply.content)


def _unavailable(address: Address, error: httpx2.RequestError) -> Unavailable:
    why = str(error) or type(error).__name__
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Unavailable(
            f"{address} cannot be reached ({why}): is the API running there?", not_done=True
        )
    return Unavailable(f"{address} gave no whole answer ({why})")


class HttpTransport:
    """Performs steps over blocking connections. Threads may share it.

    A forked process makes connections of its own.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def perform(self, step: HttpRequest | Sleep) -> HttpResponse | None:
        """Perform a step. Raises Unavailable."""
        if isinstance(step, Sleep):
            time.sleep(step.seconds)
            return None
        try:
            return _response(self._opened().request(**_sendable(self._address.url, step)))
        except httpx2.RequestError as error:
            raise _unavailable(self._address, error) from None

    def close(self) -> None:
        """Close all connections; the next step makes new ones."""
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def _opened(self) -> httpx2.Client:
        if self._pid != os.getpid():
            # Connections and lock are left to the process that this one was forked from.
            self._client, self._lock, self._pid = None, threading.Lock(), os.getpid()
        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(**_options(self._address))
            return self._client


class AsyncHttpTransport:
    """The same on an event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: httpx2.AsyncClient | None = None

    async def perform(self, step: HttpRequest | Sleep) -> HttpResponse | None:
        """Perform a step. Raises Unavailable."""
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
            return None
        if self._client is None:
            self._client = httpx2.AsyncClient(**_options(self._address))
        try:
            return _response(await self._client.request(**_sendable(self._address.url, step)))
        except httpx2.RequestError as error:
            raise _unavailable(self._address, error) from None

    async def close(self) -> None:
        """Close all connections; the next step makes new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

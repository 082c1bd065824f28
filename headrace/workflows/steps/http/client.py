"""The HTTP client of `call: http`: connects only to addresses that the policy has let through.

The name is resolved here, its addresses are checked, and the connection goes to the checked
address itself, so that a name cannot mean another one a moment later. Every redirect opens its
connection the same way, and one that leads to another host takes no credentials along.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from headrace.workflows.errors import WorkflowError
from headrace.workflows.model import HttpReply
from headrace.workflows.steps.http.headers import PLAIN_HEADERS
from headrace.workflows.steps.http.policy import HttpPolicy

_MAX_CONNECTIONS = 100
_KEEPALIVE_SECONDS = 30.0
# Of all that comes before an answer's body, any number of `100 Continue` included.
_MAX_HEAD_BYTES = 256 * 1024
# How much of it may still come, for the task that waits for it; None: it waits for no head.
_head_bytes_left: ContextVar[int | None] = ContextVar("head_bytes_left", default=None)


class EgressRefused(Exception):
    """The policy does not let a workflow call this host."""


class HostInvalid(Exception):
    """There can be no host of this name."""


class _BoundedStream(httpcore2.AsyncNetworkStream):
    """A connection from which no more is read than the head of an answer may have."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._inner.read(max_bytes, timeout)
        left = _head_bytes_left.get()
        if left is not None:
            if len(data) > left:
                raise httpcore2.RemoteProtocolError(
                    f"no answer began within the first {_MAX_HEAD_BYTES} bytes"
                )
            _head_bytes_left.set(left - len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return _BoundedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens the pool's connections, to permitted addresses only."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await resolve(host, port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"the name {host} was not resolved in time") from None
        except OSError as error:
            raise httpcore2.ConnectError(f"the name {host} was not resolved: {error}") from None
        except UnicodeError as error:
            raise HostInvalid(f"{host!r} cannot be a host's name: {error}") from None
        permitted = self._policy.permitted(host, addresses)
        if not permitted:
            raise EgressRefused(
                f"{host} ({', '.join(addresses)}) may not be called from a workflow: "
                "HTTP_ALLOW has to list the host, or for this machine, link-local and metadata "
                "the address"
            )
        failure: Exception | None = None
        for address in permitted:
            try:
                stream = await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _BoundedStream(stream)
        assert failure is not None
        raise failure


async def resolve(host: str, port: int) -> list[str]:
    """A host's addresses, each once, in the resolver's order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # An IPv6 address may come with a zone (`fe80::1%eth0`), which the policy needs not.
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


class _CheckedTransport(httpx2.AsyncHTTPTransport):
    """httpx's transport on a pool that uses the checked backend."""

    def __init__(self, policy: HttpPolicy) -> None:
        context = httpx2.create_ssl_context()
        super().__init__(verify=context)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=_MAX_CONNECTIONS,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=_CheckedBackend(policy),
        )


class HttpClient:
    """Sends requests within the policy's limits. One per process and event loop."""

    def __init__(
        self, policy: HttpPolicy, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.policy = policy
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                transport=self._transport or _CheckedTransport(self.policy),
                timeout=httpx2.Timeout(
                    self.policy.total_seconds, connect=self.policy.connect_seconds
                ),
                # A proxy from the environment would connect in our place, unchecked.
                trust_env=False,
                # What one run is told to remember must not be sent for another.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            )
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | None,
        follow_redirects: bool,
    ) -> HttpReply:
        """Send a request and read the response. Raises WorkflowError when there is none."""
        shown = _shown(url)
        try:
            async with asyncio.timeout(self.policy.total_seconds):
                return await self._send(method, url, headers, content, follow_redirects)
        except (TimeoutError, httpx2.TimeoutException) as error:
            reason = str(error) or f"no answer within {self.policy.total_seconds:g} s"
            raise WorkflowError.standard("timeout", f"{method} {shown}: {reason}") from None
        except EgressRefused as error:
            raise WorkflowError.standard("authorization", str(error)) from None
        except (
            HostInvalid,
            httpx2.InvalidURL,
            httpx2.UnsupportedProtocol,
            httpx2.LocalProtocolError,
        ) as error:
            raise WorkflowError.standard("configuration", f"{method} {shown}: {error}") from None
        except httpx2.RequestError as error:
            reason = str(error) or type(error).__name__
            raise WorkflowError.standard(
                "communication", f"{method} {shown}: {reason}", status=503
            ) from None

    async def _send(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        content: bytes | None,
        follow_redirects: bool,
    ) -> HttpReply:
        client = self._open()
        # Compressed answers could unfold to far more than the limit in one step.
        sent = [("accept-encoding", "identity"), *headers]
        request = client.build_request(method, url, headers=sent, content=content)
        for _ in range(1 + self.policy.max_redirects):
            response = await self._exchange(client, request)
            try:
                body = await self._read(response)
            finally:
                await response.aclose()
            if not (follow_redirects and response.has_redirect_location):
                return HttpReply(
                    method=request.method,
                    url=str(request.url),
                    request_headers=dict(request.headers.items()),
                    status=response.status_code,
                    reason=response.reason_phrase,
                    headers=dict(response.headers.items()),
                    content=body,
                )
            request = _redirected(response)
        reason = f"{method} {_shown(url)}: more than {self.policy.max_redirects} redirects"
        raise WorkflowError.standard("communication", reason, status=502)

    @staticmethod
    async def _exchange(client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
        """Send a request and read the head of its answer."""
        _head_bytes_left.set(_MAX_HEAD_BYTES)
        try:
            return await client.send(request, stream=True)
        finally:
            _head_bytes_left.set(None)

    async def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self.policy.max_response_bytes:
                raise WorkflowError.standard(
                    "communication",
                    f"the answer of {_shown(str(response.request.url))} is over the limit of "
                    f"{self.policy.max_response_bytes} bytes",
                    status=502,
                )
        return bytes(body)


def _redirected(response: httpx2.Response) -> httpx2.Request:
    """The request that a redirect asks for. To another host it goes without credentials."""
    request, before = response.next_request, response.request.url
    if request is None:
        reason = f"{_shown(str(before))} redirects to what is no URL"
        raise WorkflowError.standard("communication", reason, status=502)
    # Whoever answers chose them: they are not ours to use, and would stand in the result.
    request.url = request.url.copy_with(username=None, password=None)
    # From http to https, both on their usual ports, it is the same host's.
    upgraded = before.copy_with(scheme="https") if before.port is None else before
    if request.url.origin not in (before.origin, upgraded.origin):
        for name in set(request.headers) - PLAIN_HEADERS:
            del request.headers[name]
    return request


def _shown(url: str) -> str:
    """A URL for messages: without its query, which may hold secrets."""
    return url.partition("?")[0]

"""Headrace's API, as far as the operator calls it: the stats, and the workers' drain marks."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import structlog
from yarl import URL

from controller import kube
from controller.kube import Json, Kube, KubeError
from controller.model import Reading, Reason, Unread
from controller.stats import LARGEST_REPLY, parse

CALL_SECONDS = 2.0
CONNECTIONS = 20
SECRET_SECONDS = 60.0
"""How often the Secret is read again."""
SECRET_AGAIN_SECONDS = 5.0
"""How soon after it could not be read, or after its key was refused."""

API_ANNOTATION = "headrace.dev/api-url"
"""On a Secret: the base URL of the API that its key may be sent to."""

Address = tuple[str, str, str | None]
"""URL, namespace and name of the Secret: resources with the same share a reader."""

log = structlog.get_logger("controller.api")


class ApiError(Exception):
    """A call to the API failed. `status` is the HTTP status, 0 without an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Credentials:
    """What the API is called with. None: without a key; certificates that the system trusts."""

    key: str | None = None
    tls: ssl.SSLContext | None = None


def credentials(secret: Json) -> Credentials:
    """What a Secret holds. Raises ValueError, saying what is wrong with it."""
    data = secret.get("data") or {}
    key, authority = _text(data, "key").strip(), _text(data, "ca.crt")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("its `key` holds characters that no API key has")
    try:
        # Parsing alone: nothing is read from files.
        tls = ssl.create_default_context(cadata=authority) if authority.strip() else None
    except ssl.SSLError as error:
        raise ValueError(f"its `ca.crt` holds no certificates in PEM ({error})") from None
    return Credentials(key or None, tls)


def may_have_key(url: str, secret: Json, own_url: str) -> bool:
    """Whether the API at a URL may have a Secret's key.

    Who may make a WorkerAutoscaler names any URL and any Secret. Who may change the Secret has the
    key, and so has the say: by the annotation. The release's own API may have each, by `own_url`.
    """
    annotations = secret["metadata"].get("annotations") or {}
    return _place(url) in {_place(own_url), _place(annotations.get(API_ANNOTATION, ""))} - {None}


def _place(url: str) -> tuple[str, str, int | None, str] | None:
    """What two ways to write a URL have in common; None: it is none."""
    try:
        parsed = URL(url)
    except ValueError:
        return None
    if not parsed.host:
        return None
    return parsed.scheme, parsed.host, parsed.port, parsed.raw_path.rstrip("/")


def _text(data: dict[str, str], name: str) -> str:
    try:
        return base64.b64decode(data.get(name) or "").decode()
    except ValueError:
        raise ValueError(f"its `{name}` is not text") from None


class Api:
    """One API at one address. Each call ends within `CALL_SECONDS`.

    Follows no redirects and knows no proxies, so that the key goes to the address that was given.
    """

    def __init__(
        self,
        kubernetes: Kube,
        address: Address,
        clock: Callable[[], float] = time.monotonic,
        *,
        own_url: str = "",
    ) -> None:
        """`own_url`: the release's own API, which may have each key."""
        self._own_url = own_url
        self.url, self._namespace, self._secret = address
        self._kube = kubernetes
        self._clock = clock
        self._credentials = None if self._secret else Credentials()
        self._problem: str | None = None
        self._read_again_at = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "headrace-operator", "Accept-Encoding": "identity"},
            trust_env=False,
        )

    async def stats(self) -> Reading | Unread:
        """Read the queue's stats."""
        try:
            status, body = await self._call("GET", "/api/workflows/queue/stats", LARGEST_REPLY + 1)
        except ApiError as error:
            return Unread(Reason.STATS_UNAVAILABLE, str(error))
        return parse(status, body)

    async def drain(self, worker: str) -> bool:
        """Mark a worker, or renew its mark (60 s). False: there is no such worker.

        Raises ApiError.
        """
        return await self._mark(worker, "drain")

    async def undrain(self, worker: str) -> bool:
        """Take a worker's mark away. False: there is no such worker. Raises ApiError."""
        return await self._mark(worker, "undrain")

    async def close(self) -> None:
        """Close its connections."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._session.close()

    async def _mark(self, worker: str, move: str) -> bool:
        path = f"/api/workers/{quote(worker, safe='')}/{move}"
        status, _ = await self._call("POST", path, 64 * 2**10)
        if status in (401, 403):
            raise ApiError(
                status,
                f"the API does not let the operator {move} workers (HTTP {status}): its key must"
                " have the role operator",
            )
        if status not in (200, 404):
            raise ApiError(status, f"POST {path} was answered with HTTP {status}")
        return status == 200

    async def _call(self, method: str, path: str, most: int) -> tuple[int, bytes]:
        """Status and as much of the answer. Raises ApiError without an answer."""
        credentials = await self._known_credentials()
        try:
            async with self._session.request(
                method,
                f"{self.url}{path}",
                headers={"Authorization": f"Bearer {credentials.key}"} if credentials.key else None,
                ssl=credentials.tls or True,
                allow_redirects=False,
            ) as response:
                body = await _first(response, most)
        except TimeoutError as error:
            raise ApiError(
                0,
                f"no answer from {self.url} within {CALL_SECONDS:g} s: see that the API runs, and"
                " that network policies let the operator reach it",
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiError(
                0,
                f"{self.url} cannot be reached ({kube.cause(error)}): see that the API runs and"
                " that spec.api.url is its address",
            ) from error
        if response.status in (401, 403):
            self._read_again_soon()
        return response.status, body

    async def _known_credentials(self) -> Credentials:
        """Those that were read last. Raises ApiError while none could be read."""
        if self._secret is not None and self._clock() >= self._read_again_at:
            self._read_again_at = self._clock() + SECRET_SECONDS
            self._reading = asyncio.create_task(self._read_secret(self._secret))
        if self._credentials is None and self._reading is not None:
            await asyncio.shield(self._reading)
        if self._credentials is None:
            raise ApiError(0, self._problem or "the Secret has not been read yet")
        return self._credentials

    async def _read_secret(self, name: str) -> None:
        """Read the Secret. What cannot be read leaves the credentials as they were."""
        problem = None
        try:
            found = await self._kube.get(kube.secret(self._namespace, name))
            read = credentials(found)
            if read.key and not may_have_key(self.url, found, self._own_url):
                problem = (
                    f"the key of the Secret {name} (spec.api.secretName) is not for {self.url}:"
                    f" annotate the Secret with {API_ANNOTATION}={self.url} if that API may have it"
                )
            self._credentials = None if problem else read
        except KubeError as error:
            problem = f"the Secret {name} (spec.api.secretName) cannot be read: {error}"
            if error.status == 404:
                problem = (
                    f"there is no Secret {name} (spec.api.secretName) in the namespace"
                    f" {self._namespace}: create it with an API key of the role operator as `key`"
                )
        except ValueError as error:
            problem = f"the Secret {name} (spec.api.secretName) cannot be used: {error}"
        if problem is not None:
            self._read_again_soon()
            if problem != self._problem:
                log.warning("secret.unreadable", error=problem)
        self._problem = problem

    def _read_again_soon(self) -> None:
        self._read_again_at = min(self._read_again_at, self._clock() + SECRET_AGAIN_SECONDS)


async def _first(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The answer's first so many bytes."""
    parts: list[bytes] = []
    left = most
    while left > 0 and (part := await response.content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)

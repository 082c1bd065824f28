"""Sets kopf up to do one thing: keep indices by its watches.

No handler here changes an object, and none asks for a finalizer: daemons, timers and delete
handlers would, and an uninstall would hang when the operator goes first.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import kopf

from controller import kube, watched

FIRST_BACKOFFS = (0.5, 1.0, 2.0)
BACKOFF_SECONDS = 4.0
LOGIN_SECONDS = 2.0
FAR = timedelta(days=3650)
SERVER_TIMEOUT_SECONDS = 240
"""A watch is ended by the server after this time and begun again where it ended."""
CLIENT_TIMEOUT_SECONDS = SERVER_TIMEOUT_SECONDS + 30
INACTIVITY_SECONDS = 75
"""The server sends a bookmark a minute: a watch that is silent for longer is dead."""
CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 20.0
LIST_CHUNK = 250
"""Objects that are listed at a time, so that a large cluster does not fill the memory."""


class Backoffs:
    """The pauses between attempts, without an end: the API server comes back some time."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(FIRST_BACKOFFS, itertools.repeat(BACKOFF_SECONDS))


class _Connection(kopf.ConnectionInfo):
    """As strict with certificates as `Kube.connect` is, and no more."""

    def as_ssl_context(self) -> ssl.SSLContext:
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


Login = Callable[..., kopf.ConnectionInfo | None]


def _patient(way: Login) -> Callable[..., Awaitable[kopf.ConnectionInfo | None]]:
    """A way to log in that may be retried, though not at once.

    kopf gives up when the same credentials are refused that it has tried before. But an API server
    that has just started may refuse good ones, and a token's file gets a new one in time. An expiry
    that has no meaning makes them other credentials each time.
    """
    next_at = 0.0

    async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        nonlocal next_at
        await asyncio.sleep(next_at - time.monotonic())
        next_at = time.monotonic() + LOGIN_SECONDS
        found = way(**arguments)
        if found is None:
            return None
        values = {field.name: getattr(found, field.name) for field in fields(found)}
        return _Connection(**{**values, "expiration": datetime.now(UTC) + FAR})

    return login


async def spawn(
    target: watched.Watched, namespaces: Sequence[str] | None
) -> Collection[asyncio.Task[Any]]:
    """Begin to watch these namespaces (None: all), for `target`.

    None of the tasks ends by itself, unless something is wrong that kopf cannot deal with. kopf
    takes over the handlers of SIGTERM and SIGINT.
    """
    return await kopf.spawn_tasks(
        registry=registry(target),
        settings=settings(),
        # Unused without peering. By itself kopf would ask for the user's name, which a uid of a
        # container need not have.
        identity=cast("Any", "headrace-operator"),
        standalone=True,
        clusterwide=namespaces is None,
        namespaces=namespaces or (),
    )


def settings() -> kopf.OperatorSettings:
    """No events, no peering, no looking for namespaces, no write of any kind."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True
    made.process.ultimate_exiting_timeout = None
    made.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    made.watching.client_timeout = CLIENT_TIMEOUT_SECONDS
    made.watching.inactivity_timeout = INACTIVITY_SECONDS
    made.watching.connect_timeout = CONNECT_SECONDS
    made.watching.chunk_size = LIST_CHUNK
    made.networking.trust_env = True  # as `kube` does, and kubectl
    made.networking.request_timeout = REQUEST_SECONDS
    made.networking.connect_timeout = CONNECT_SECONDS
    made.networking.error_backoffs = Backoffs()
    return made


def registry(target: watched.Watched) -> kopf.OperatorRegistry:
    """The handlers: log in as `kube` does, and fill the indices of `target`."""
    made = kopf.OperatorRegistry()
    for way in (kopf.login_with_service_account, kopf.login_with_kubeconfig):
        kopf.on.login(id=way.__name__, registry=made)(_patient(way))

    @kopf.on.startup(registry=made, errors=kopf.ErrorsMode.PERMANENT)
    async def attach(**arguments: Any) -> None:
        target.attach({name: arguments[name] for name in watched.COLLECTIONS})

    @kopf.index(kube.GROUP, kube.VERSION, kube.PLURAL, id="autoscalers", registry=made)
    async def autoscalers(
        *, body: kopf.Body, namespace: str | None, **_: Any
    ) -> dict[str | None, watched.Body]:
        return {namespace: watched.autoscaler(body)}

    @kopf.index("apps", "v1", "deployments", id="deployments", registry=made)
    async def deployments(
        *, body: kopf.Body, namespace: str | None, name: str, **_: Any
    ) -> dict[tuple[str | None, str], watched.Body]:
        return {(namespace, name): watched.deployment(body)}

    @kopf.index("", "v1", "pods", id="pods", registry=made)
    async def pods(
        *, body: kopf.Body, namespace: str | None, **_: Any
    ) -> dict[str | None, watched.Body]:
        return {namespace: watched.pod(body)}

    @kopf.index("autoscaling", "v2", "horizontalpodautoscalers", id="hpas", registry=made)
    async def hpas(
        *, body: kopf.Body, namespace: str | None, **_: Any
    ) -> dict[str | None, watched.Body]:
        return {namespace: watched.hpa(body)}

    return made

"""Where the queue's server is at this moment, and clients that connect there.

A Sentinel's master and the owner of the queue's slot in a Cluster are asked for at every attempt
to connect, so that a failover is followed.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.asyncio.client import PubSub
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AskError, MovedError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from headrace.taskqueue.errors import NoReply, NotSent
from headrace.taskqueue.redis.connection import Endpoint, Script
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.redis.url import REDIS_PORT, Target


async def locate(target: Target, *, timeout_seconds: float = 1.0) -> Endpoint:
    """The server that holds the queue at this moment. Raises NotSent if nobody knows it.

    Certificates are read again at every call, so renewed ones are used without a restart.
    """
    context = _tls_context(target) if target.tls else None
    if target.kind in ("server", "unix"):
        address = target.nodes[0] if target.nodes else ("", REDIS_PORT)
        return _endpoint(target, address, context)
    problems: list[str] = []
    for host, port in target.nodes:
        options = _asking_options(target, host, port, timeout_seconds)
        client: Any = redis.asyncio.Redis(
            **options, retry=redis.asyncio.retry.Retry(NoBackoff(), 0)
        )
        try:
            reply = await client.execute_command(*_question(target))
            return _endpoint(target, _address(target, reply, host), context)
        except (RedisError, OSError, LookupError) as error:
            problems.append(f"{host}:{port}: {error}")
        finally:
            await client.aclose()
    raise NotSent(_nobody_knows(target, problems))


def sync_client(
    target: Target,
    *,
    client_name: str = "headrace",
    timeout_seconds: float = 1.0,
    connect_timeout_seconds: float = 1.0,
) -> redis.Redis:
    """A blocking redis-py client of the same server, for use in one thread.

    It never sends a command twice: redis-py's own default is up to ten times. It finds the server
    anew whenever it connects, and drops its connection when told that the server is no longer
    the master, so the next command goes to the new one. `timeout_seconds` bounds the wait for a
    reply: block for less, or give more. Errors are redis-py's (`redis.RedisError`).
    """
    options: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        "db": target.db,
        "client_name": client_name,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": connect_timeout_seconds,
        **_PLAIN,
        "retry": Retry(NoBackoff(), 0),
    }
    if target.kind == "unix":
        options |= {"connection_class": UnixDomainSocketConnection, "path": target.path}
    elif target.tls:
        options |= {"connection_class": _LocatedTlsConnection, "target": target}
        options |= _tls_options(target)
    else:
        options |= {"connection_class": _LocatedConnection, "target": target}
    return redis.Redis(connection_pool=redis.ConnectionPool(**options))


@contextlib.asynccontextmanager
async def subscription(
    target: Target,
    channel: str,
    *,
    client_name: str = "headrace",
    timeout_seconds: float = 1.0,
) -> AsyncIterator[PubSub]:
    """A connection that hears what is published on a channel from now on.

    Raises NotSent as `locate` does, NoReply, and redis-py's errors (`redis.RedisError`): also while
    it is used, when the connection is lost.
    """
    endpoint = await locate(target, timeout_seconds=timeout_seconds)
    client = redis.asyncio.Redis(
        host=endpoint.host,
        port=endpoint.port,
        unix_socket_path=endpoint.path,
        username=target.username,
        password=target.password,
        db=target.db,
        client_name=client_name,
        socket_timeout=None,  # silence is nothing unusual
        socket_connect_timeout=timeout_seconds,
        socket_keepalive=endpoint.path is None,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
        ssl=target.tls,
        **_PLAIN,
        **(_tls_options(target) if target.tls else {}),
    )
    try:
        async with client.pubsub(ignore_subscribe_messages=False) as pubsub:
            await pubsub.subscribe(channel)
            if await pubsub.get_message(timeout=timeout_seconds) is None:
                raise NoReply(f"{endpoint} did not confirm the subscription in time")
            yield pubsub
    finally:
        await client.aclose()


def link(
    target: Target,
    scripts: Sequence[Script] = (),
    *,
    client_name: str = "headrace",
    timeout_seconds: float = 1.0,
) -> Link:
    """A link to the server that holds the queue. It connects at its first call."""

    async def ask() -> Endpoint:
        return await locate(target, timeout_seconds=timeout_seconds)

    return Link(ask, scripts=scripts, client_name=client_name, timeout_seconds=timeout_seconds)


class _LocatedConnection(Connection):
    """A redis-py connection that finds its server each time it connects."""

    def __init__(self, target: Target, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._target = target

    def _connect(self) -> Any:
        timeout_seconds = self.socket_connect_timeout or 1.0
        self.host, self.port = _address_now(self._target, timeout_seconds)
        return super()._connect()  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except ResponseError as error:
            # Redis 6.2 wraps what a script ran into.
            if isinstance(error, ReadOnlyError | MovedError | AskError) or (
                "-READONLY " in str(error)
            ):
                self.disconnect()  # type: ignore[no-untyped-call]
                raise redis.ConnectionError(f"the master has moved: {error}") from error
            raise


class _LocatedTlsConnection(_LocatedConnection, SSLConnection):
    """The same over TLS."""


def _address_now(target: Target, timeout_seconds: float) -> tuple[str, int]:
    """As `locate`, for a thread. Raises redis.ConnectionError."""
    if target.kind == "server":
        return target.nodes[0]
    problems: list[str] = []
    for host, port in target.nodes:
        options = _asking_options(target, host, port, timeout_seconds)
        with redis.Redis(**options, retry=Retry(NoBackoff(), 0)) as client:
            try:
                reply = client.execute_command(*_question(target))
                return _address(target, reply, host)
            except (RedisError, OSError, LookupError) as error:
                problems.append(f"{host}:{port}: {error}")
    raise redis.ConnectionError(_nobody_knows(target, problems))


_PLAIN: dict[str, Any] = {"protocol": 2, "driver_info": None}
"""RESP2, and no CLIENT SETINFO, which Redis has only since 7.2."""


def _asking_options(target: Target, host: str, port: int, timeout_seconds: float) -> dict[str, Any]:
    """How to ask one of several nodes: each has its share of the time, one is left to connect."""
    share = timeout_seconds / (len(target.nodes) + 1)
    sentinel = target.kind == "sentinel"
    return {
        "host": host,
        "port": port,
        "username": target.sentinel_username if sentinel else target.username,
        "password": target.sentinel_password if sentinel else target.password,
        "socket_timeout": share,
        "socket_connect_timeout": share,
        "ssl": target.tls,
        **_PLAIN,
        **(_tls_options(target) if target.tls else {}),
    }


def _question(target: Target) -> tuple[str, ...]:
    if target.kind == "sentinel":
        assert target.service is not None
        return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.service)
    return ("CLUSTER", "SLOTS")


def _address(target: Target, reply: Any, asked_host: str) -> tuple[str, int]:
    """The address in the reply to the question. Raises LookupError if there is none."""
    if target.kind == "sentinel":
        if not reply:
            raise LookupError("knows no master of this name")
        return reply[0].decode(), int(reply[1])
    for first, last, (host, port, *_), *_ in reply:
        if first <= target.slot <= last:
            return (host.decode() if host else asked_host), int(port)
    raise LookupError(f"knows no owner of slot {target.slot}")


def _nobody_knows(target: Target, problems: list[str]) -> str:
    what = (
        f"no Sentinel knows the master {target.service!r}"
        if target.kind == "sentinel"
        else "no node of the Redis Cluster told which one holds the queue"
    )
    return f"{what} ({'; '.join(problems)}): check that they run, and REDIS_URL"


def _endpoint(target: Target, address: tuple[str, int], tls: ssl.SSLContext | None) -> Endpoint:
    return Endpoint(
        host=address[0],
        port=address[1],
        path=target.path,
        tls=tls,
        username=target.username,
        password=target.password,
        db=target.db,
    )


def _tls_context(target: Target) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=target.tls_ca_file)
        context.check_hostname = target.tls_check_hostname
        if target.tls_cert_file is not None:
            context.load_cert_chain(target.tls_cert_file, target.tls_key_file)
    except OSError as error:
        files = (target.tls_ca_file, target.tls_cert_file, target.tls_key_file)
        names = ", ".join(file for file in files if file is not None)
        raise NotSent(
            f"the TLS files for Redis cannot be used ({error.strerror or error}): {names}"
        ) from error
    return context


def _tls_options(target: Target) -> dict[str, Any]:
    """The same as `_tls_context` in redis-py's words."""
    return {
        "ssl_ca_certs": target.tls_ca_file,
        "ssl_certfile": target.tls_cert_file,
        "ssl_keyfile": target.tls_key_file,
        "ssl_check_hostname": target.tls_check_hostname,
    }

"""The one place where a Redis client is made: from REDIS_URL to a server, and to clients of it.

    redis://[[user]:password@]host[:port][/db]                       one server
    rediss://…                                                       ... over TLS
    unix://[[user]:password@]/path/to/socket[?db=0]                  ... on this machine
    redis+sentinel://[[user]:password@]host[:port],…/service[/db]    the master that Sentinels name
    redis+cluster://[[user]:password@]host[:port],…                  the owner of the queue's slot
    rediss+sentinel://…, rediss+cluster://…                          ... over TLS

User and password are those of the Redis server, percent-encoded. Options, after `?`:
    db                                 the database's number, instead of the path
    tls_ca_file                        PEM file of the CA that signed the server's certificate
    tls_cert_file, tls_key_file        this client's own certificate, where the server asks for one
    tls_check_hostname=false           accept a certificate for another host name of the same CA
    sentinel_username, sentinel_password

All keys of a queue lie in one slot, so in a Cluster, too, one server holds the whole queue.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from headrace.taskqueue.errors import NotSent
from headrace.taskqueue.redis.connection import Endpoint, Script
from headrace.taskqueue.redis.link import Link

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_SCHEMES: dict[str, tuple[Literal["server", "unix", "sentinel", "cluster"], bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_OPTIONS = frozenset(
    {
        "db",
        "sentinel_password",
        "sentinel_username",
        "tls_ca_file",
        "tls_cert_file",
        "tls_check_hostname",
        "tls_key_file",
    }
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a REDIS_URL says: which servers to ask or to use, and how to log in."""

    kind: Literal["server", "unix", "sentinel", "cluster"]
    nodes: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str | None = None
    slot: int = 0
    """The Cluster's slot that the queue's keys lie in."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    tls_check_hostname: bool = True


def parse_url(url: str, *, namespace: str = "headrace", tls_ca_file: str | None = None) -> Target:
    """Read a REDIS_URL. Pure.

    `namespace`: the queue's; its keys' hash tag. `tls_ca_file`: used unless the URL names one.
    Raises ValueError with a sentence that never repeats a part of the URL: a badly encoded
    password may stand in any of them.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise _wrong(f"must begin with one of {', '.join(f'{s}://' for s in _SCHEMES)}")
    kind, tls = _SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    options = _options(query)
    authority, _, path = rest.partition("/")
    if "@" in path and kind != "unix":
        raise _wrong("has an @ after a /: in a user or password, write / as %2F and @ as %40")
    userinfo, at, hosts = authority.rpartition("@")
    username, password = _login(userinfo) if at else (None, None)
    service: str | None = None
    db = options.get("db")
    nodes: tuple[tuple[str, int], ...] = ()
    if kind == "unix":
        if hosts or not path:
            raise _wrong("must give an absolute path: unix:///run/redis/redis.sock")
    else:
        nodes = _nodes(hosts, SENTINEL_PORT if kind == "sentinel" else REDIS_PORT)
        if kind == "server" and len(nodes) > 1:
            raise _wrong("names several hosts: write redis+sentinel:// or redis+cluster://")
        if kind == "sentinel":
            service, _, path = path.partition("/")
            if not service:
                raise _wrong("lacks the master's name: redis+sentinel://host:26379/mymaster/0")
        db = db if db is not None else path.removesuffix("/") or None
    if db is not None and not (db.isascii() and db.isdigit()):
        raise _wrong("must end in the number of a database: redis://localhost:6379/0")
    if kind == "cluster" and db is not None and int(db):
        raise _wrong("names a database: a Redis Cluster has only 0, leave it out")
    return Target(
        kind=kind,
        nodes=nodes,
        path=f"/{unquote(path)}" if kind == "unix" else None,
        service=unquote(service) if service else None,
        slot=key_slot(f"{{{namespace}}}".encode()),
        username=username,
        password=password,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        db=int(db or 0),
        tls=tls,
        tls_ca_file=options.get("tls_ca_file") or tls_ca_file or None,
        tls_cert_file=options.get("tls_cert_file"),
        tls_key_file=options.get("tls_key_file"),
        tls_check_hostname=options.get("tls_check_hostname", "true") == "true",
    )


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


def _wrong(what: str) -> ValueError:
    return ValueError(f"REDIS_URL {what}")


def _login(userinfo: str) -> tuple[str | None, str]:
    username, colon, password = userinfo.partition(":")
    if not colon or not password:
        raise _wrong(
            "has a user without a password: write redis://:password@host or "
            "redis://user:password@host"
        )
    return unquote(username) or None, unquote(password)


def _nodes(hosts: str, default_port: int) -> tuple[tuple[str, int], ...]:
    nodes = []
    for part in hosts.split(","):
        match = _HOST.fullmatch(part)
        port = int(match["port"] or default_port) if match else 0
        if match is None or not 0 < port < 65536:
            raise _wrong(
                "must have host[:port] after the ://, the port from 1 to 65535 "
                "(redis://localhost:6379/0); special characters in a user or password are "
                "percent-encoded"
            )
        nodes.append((match["host"].strip("[]"), port))
    return tuple(nodes)


def _options(query: str) -> dict[str, str]:
    try:
        options = (
            dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True)) if query else {}
        )
    except ValueError:
        raise _wrong("must have options like ?db=0&tls_ca_file=/path after the ?") from None
    if not options.keys() <= _OPTIONS:
        raise _wrong(
            f"has an unknown option after the ?; known are {', '.join(sorted(_OPTIONS))} "
            "(in a password, write ? as %3F)"
        )
    if options.get("tls_check_hostname", "true") not in ("true", "false"):
        raise _wrong("must say tls_check_hostname=true or tls_check_hostname=false")
    return options

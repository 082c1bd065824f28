"""Reads a REDIS_URL: which servers, and how to log in there. Pure.

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

import binascii
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote

REDIS_PORT = 6379
SENTINEL_PORT = 26379
CLUSTER_SLOTS = 16384
"""A key lies in the slot of its hash tag, the namespace: CRC16 (XMODEM) modulo this number."""

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
        slot=binascii.crc_hqx(namespace.encode(), 0) % CLUSTER_SLOTS,
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

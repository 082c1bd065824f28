"""What every link does alike, blocking or not: greet, tell what to send again, say why. Pure."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence

from headrace.taskqueue.errors import NotSent, QueueError
from headrace.taskqueue.redis.connection import (
    MOVED,
    Argument,
    Command,
    Endpoint,
    Reply,
    ReplyError,
    Script,
    explained,
)

_CONFIRMING = frozenset({"WAIT", "WAITAOF"})


def login(endpoint: Endpoint) -> list[Command]:
    """What a client says first: who it is, if the server asks for that."""
    if endpoint.password is None:
        return []
    user = (endpoint.username,) if endpoint.username else ()
    return [("AUTH", *user, endpoint.password)]


def greeting(endpoint: Endpoint, client_name: str, scripts: Iterable[Script]) -> list[Command]:
    """Log in, name the connection, load the scripts, and learn its id: one round trip.

    Whatever is refused of it fails the attempt to connect: a user without the right to name a
    connection hears so at once, and not when a worker's wait cannot be ended.
    """
    commands = login(endpoint)
    if endpoint.db:
        commands.append(("SELECT", endpoint.db))
    commands.append(("CLIENT", "SETNAME", client_name))
    commands += [("SCRIPT", "LOAD", script.text) for script in scripts]
    return [*commands, ("CLIENT", "ID"), ("ROLE",)]


def welcomed(endpoint: Endpoint, replies: Sequence[Reply], closed: str | None) -> int:
    """What the server calls this connection, by its replies to the greeting.

    `closed`: why the connection is closed by now, if it is. Raises the error of our tree that says
    what was refused.
    """
    *others, role = replies
    for reply in others:
        if isinstance(reply, ReplyError):
            text = str(reply)
            if endpoint.password:  # an unknown command is quoted with its arguments
                text = text.replace(endpoint.password, "***")
            raise explained(ReplyError(text), str(endpoint))
    if closed is not None:
        raise NotSent(
            f"{closed} during the handshake: check REDIS_URL, which must begin with "
            "rediss:// if the server speaks TLS there"
        )
    # Not everybody may ask for the ROLE; a replica that does not tell answers READONLY later.
    if isinstance(role, list) and role[0] != b"master":
        raise NotSent(f"{endpoint} is a replica, the queue needs the master")
    client_id: int = others[-1]
    return client_id


def not_run(
    commands: Sequence[Command], replies: Sequence[Reply], scripts: Mapping[Argument, Script]
) -> tuple[list[int], list[Command], bool]:
    """Which commands were provably not run as a script or the master was missing.

    Returns where they stand, the commands that load the missing scripts, and whether the master is
    another server.
    """
    again: list[int] = []
    loads: dict[str, Command] = {}
    moved = False
    for i, (command, reply) in enumerate(zip(commands, replies, strict=True)):
        code = reply.code if isinstance(reply, ReplyError) else None
        script = scripts.get(command[1]) if command[0] == b"EVALSHA" else None
        if code in MOVED or (code == "NOSCRIPT" and script is not None):
            moved = moved or code in MOVED
            again.append(i)
            if script is not None:  # the other server may never have seen it
                loads[script.sha] = ("SCRIPT", "LOAD", script.text)
        elif again and command[0] in _CONFIRMING:
            again.append(i)  # it has confirmed nothing of what is only sent now
    return again, list(loads.values()), moved


def why_not_connected(
    error: OSError | QueueError, name: str, timeout_seconds: float, *, tls: bool
) -> str:
    """Why connecting failed and what to check, in one sentence."""
    match error:
        case NotSent():
            return str(error)
        case QueueError():
            return (
                f"{name} did not let this client in: {error}. If that does not pass, check user, "
                "password and database in REDIS_URL"
            )
        case TimeoutError() if tls:
            # A server without TLS takes the greeting for an unfinished command, and waits.
            return (
                f"TLS with {name} was not agreed on within {timeout_seconds:g} s: check that it "
                "runs and serves TLS on this port; without TLS, REDIS_URL begins with redis://"
            )
        case TimeoutError():
            return (
                f"{name} did not let a client in within {timeout_seconds:g} s: check that it "
                "runs, is not stuck, and that no firewall is in between"
            )
        case socket.gaierror():
            return f"{name}: the host name is not known ({error.strerror}): check REDIS_URL"
        case ssl.SSLError():
            return (
                f"TLS with {name} failed ({error.reason or error}): check that it serves TLS on "
                "this port, and REDIS_TLS_CA_FILE"
            )
        case _:
            return (
                f"{name} cannot be reached ({error.strerror or error}): check that it runs, and "
                "REDIS_URL"
            )

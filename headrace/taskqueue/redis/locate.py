"""Where the queue's server is at this moment, and clients that connect there.

A Sentinel's master and the owner of the queue's slot in a Cluster are asked for at every attempt
to connect, so that a failover is followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from headrace.taskqueue.errors import NoReply, NotSent, QueueError
from headrace.taskqueue.redis.blocking import BlockingConnection, BlockingLink
from headrace.taskqueue.redis.connection import (
    Command,
    Endpoint,
    Reply,
    Script,
    dial,
    exchange,
)
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.redis.recovery import login
from headrace.taskqueue.redis.url import REDIS_PORT, Target

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub


async def locate(target: Target, *, timeout_seconds: float = 1.0) -> Endpoint:
    """The server that holds the queue at this moment. Raises NotSent if nobody knows it.

    Certificates are read again at every call, so renewed ones are used without a restart.
    """
    search = _Search(target, timeout_seconds)
    for node in search.nodes:
        try:
            async with asyncio.timeout(search.share_seconds):
                connection = await dial(node, search.share_seconds)
                replies = await exchange(connection, search.question(node))
                connection.retire()
            return search.answer(node, replies)
        except (OSError, QueueError, LookupError) as error:
            search.failed(node, error)
    return search.result()


def locate_blocking(target: Target, *, timeout_seconds: float = 1.0) -> Endpoint:
    """As `locate`, without an event loop."""
    search = _Search(target, timeout_seconds)
    for node in search.nodes:
        try:
            connection = BlockingConnection(node, search.share_seconds)
            replies = connection.exchange(search.question(node))
            connection.close("the node has answered")
            return search.answer(node, replies)
        except (OSError, QueueError, LookupError) as error:
            search.failed(node, error)
    return search.result()


@contextlib.asynccontextmanager
async def subscription(
    target: Target,
    channel: str,
    *,
    client_name: str = "headrace",
    timeout_seconds: float = 1.0,
) -> AsyncIterator[PubSub]:
    """A connection that hears what is published on a channel from now on.

    Raises NotSent as `locate` does, and NoReply; NoReply also while it is used, when it is lost.
    """
    # Here, for redis-py takes 10 MiB, and only the API waits for what is published.
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

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
        retry=Retry(NoBackoff(), 0),
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
    except redis.RedisError as error:
        raise NoReply(f"the subscription to {endpoint} has ended: {error}") from None
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


def blocking_link(
    target: Target,
    scripts: Sequence[Script] = (),
    *,
    client_name: str = "headrace",
    timeout_seconds: float = 1.0,
) -> BlockingLink:
    """As `link`, without an event loop."""

    def ask() -> Endpoint:
        return locate_blocking(target, timeout_seconds=timeout_seconds)

    return BlockingLink(
        ask, scripts=scripts, client_name=client_name, timeout_seconds=timeout_seconds
    )


class _Search:
    """The search for the server: which ones to ask, and what they said. It asks none itself."""

    def __init__(self, target: Target, timeout_seconds: float) -> None:
        self._target = target
        self._tls = _tls_context(target) if target.tls else None
        self._problems: list[str] = []
        self.share_seconds = timeout_seconds / (len(target.nodes) + 1)
        """How long each node may take: one share is left to connect to the server itself."""
        self.nodes: list[Endpoint] = []
        """The servers to ask, one after the other until one of them knows."""
        if target.kind in ("sentinel", "cluster"):
            sentinel = target.kind == "sentinel"
            self.nodes = [
                Endpoint(
                    host=host,
                    port=port,
                    tls=self._tls,
                    username=target.sentinel_username if sentinel else target.username,
                    password=target.sentinel_password if sentinel else target.password,
                )
                for host, port in target.nodes
            ]

    def question(self, node: Endpoint) -> list[Command]:
        """What to send to a node."""
        if self._target.kind == "sentinel":
            assert self._target.service is not None
            asked: Command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.service)
        else:
            asked = ("CLUSTER", "SLOTS")
        return [*login(node), asked]

    def answer(self, node: Endpoint, replies: Sequence[Reply]) -> Endpoint:
        """The server that a node names. Raises what went wrong, LookupError if it knows none."""
        for reply in replies:
            if isinstance(reply, QueueError):
                raise reply
        return self._endpoint(_address(self._target, replies[-1], node.host))

    def failed(self, node: Endpoint, error: Exception) -> None:
        """Keep why a node did not tell."""
        text = str(error) or "no answer in time"
        if node.password:  # an unknown command is quoted with its arguments
            text = text.replace(node.password, "***")
        self._problems.append(f"{node.host}:{node.port}: {text}")

    def result(self) -> Endpoint:
        """The server, where nobody has to be asked. Raises NotSent when all nodes failed."""
        if self.nodes:
            raise NotSent(_nobody_knows(self._target, self._problems))
        nodes = self._target.nodes
        return self._endpoint(nodes[0] if nodes else ("", REDIS_PORT))

    def _endpoint(self, address: tuple[str, int]) -> Endpoint:
        return Endpoint(
            host=address[0],
            port=address[1],
            path=self._target.path,
            tls=self._tls,
            username=self._target.username,
            password=self._target.password,
            db=self._target.db,
        )


_PLAIN: dict[str, Any] = {"protocol": 2, "driver_info": None}
"""RESP2, and no CLIENT SETINFO, which Redis has only since 7.2."""


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
        else "no node of the Redis Cluster said which node has the queue"
    )
    return f"{what} ({'; '.join(problems)}): check that they run, and REDIS_URL"


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

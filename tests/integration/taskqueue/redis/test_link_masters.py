"""A link leaves a master that has become a replica. On both loops."""

from __future__ import annotations

import asyncio

import pytest

from headrace.taskqueue.errors import NotSent
from tests.conftest import ServerFactory
from tests.integration.taskqueue.redis.links import (
    COUNT,
    LinkFactory,
    at,
    blocked,
    soon_again,
)
from tests.servers import RedisServer

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def test_a_demoted_master_is_left_for_the_new_one(
    any_server: RedisServer, new_server: ServerFactory, new_link: LinkFactory
) -> None:
    other = new_server(any_server.kind)
    link = new_link(at(any_server), at(other), scripts=[COUNT])
    await link.connect()
    any_server.client.replicaof("127.0.0.1", other.port)
    try:
        counted = await link.evalsha(COUNT, ("n",), ())
    finally:
        any_server.client.replicaof("NO", "ONE")

    assert counted == 1
    assert other.client.get("n") == b"1"
    assert link.attempts == 2
    assert link.state == "closed"


async def test_a_wait_on_a_demoted_master_goes_on_at_the_new_one(
    server: RedisServer, new_server: ServerFactory, new_link: LinkFactory
) -> None:
    other = new_server()
    other.client.rpush("tokens", "token")
    link = new_link(at(server), at(other))
    await link.connect()
    waiting = asyncio.create_task(link.call("BLPOP", "tokens", 5, timeout=6))
    await blocked(server)

    server.client.replicaof("127.0.0.1", other.port)
    try:
        assert await waiting == [b"tokens", b"token"]
    finally:
        server.client.replicaof("NO", "ONE")


async def test_other_calls_on_the_old_connection_keep_their_replies(
    server: RedisServer, new_server: ServerFactory, new_link: LinkFactory
) -> None:
    other = new_server()
    link = new_link(at(server), at(other))
    await link.connect()
    server.client.replicaof("127.0.0.1", other.port)
    try:
        moved, stayed = await asyncio.gather(link.call("SET", "k", "v"), link.call("ECHO", "here"))
    finally:
        server.client.replicaof("NO", "ONE")

    assert (moved, stayed) == (b"OK", b"here")


async def test_a_replica_is_not_used(
    server: RedisServer, new_server: ServerFactory, new_link: LinkFactory
) -> None:
    replica = new_server(replicaof=f"127.0.0.1 {server.port}")
    link = new_link(at(replica))

    with pytest.raises(NotSent, match="is a replica, the queue needs the master"):
        await link.call("GET", "k")
    assert link.state == "open"


async def test_a_demoted_master_without_a_new_one_is_not_sent(
    server: RedisServer, new_server: ServerFactory, new_link: LinkFactory
) -> None:
    other = new_server()
    link = new_link(at(server))
    await link.connect()
    server.client.replicaof("127.0.0.1", other.port)
    try:
        with pytest.raises(NotSent, match="is a replica"):
            await link.call("SET", "k", "v")
    finally:
        server.client.replicaof("NO", "ONE")

    await soon_again(link)

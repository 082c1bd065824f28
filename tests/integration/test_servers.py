"""The servers that other tests stand on do what they promise: each kind, each way of failing."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import RedisServer

if TYPE_CHECKING:
    from tests.conftest import ServerFactory

NEVER = Retry(NoBackoff(), 0)
VERSIONS = {"redis-6.2": ("redis_version", "6.2."), "valkey-9": ("valkey_version", "9.")}


def test_each_kind_is_the_server_that_its_name_says(any_server: RedisServer) -> None:
    field, start = VERSIONS.get(any_server.kind, ("redis_version", ""))
    assert any_server.client.info("server")[field].startswith(start)


def test_a_shared_server_comes_back_empty_whatever_a_test_did(server: RedisServer) -> None:
    server.client.set("left", "over")
    server.client.config_set("maxmemory", "1mb")
    server.kill()
    server.reset()
    server.client.set("left", "again")
    server.pause()
    server.reset()
    assert server.client.dbsize() == 0
    assert server.client.config_get("maxmemory") == {"maxmemory": "0"}


def test_a_synced_write_outlives_a_kill_on_the_same_port(new_server: ServerFactory) -> None:
    server = new_server(appendfsync="always")
    port = server.port
    server.client.set("kept", "1")
    server.restart()
    assert server.port == port
    assert server.client.get("kept") == b"1"


def test_a_killed_server_refuses(new_server: ServerFactory) -> None:
    server = new_server()
    server.kill()
    assert not server.running
    with pytest.raises(redis.ConnectionError):
        server.client.ping()


def test_a_paused_server_hangs_and_later_does_what_it_was_sent(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url, socket_timeout=0.2, retry=NEVER) as client:
        client.ping()
        server.pause()
        began = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            client.set("sent", "while paused")
        assert time.monotonic() - began >= 0.2
        server.resume()
    assert server.client.get("sent") == b"while paused"


def test_cut_connections_closes_every_client_but_its_own(server: RedisServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(16) == b"+PONG\r\n"
        assert server.cut_connections() == 1
        assert connection.recv(16) == b""
    assert server.client.ping()


def test_options_reach_the_server(new_server: ServerFactory) -> None:
    server = new_server(maxmemory="50mb", maxmemory_policy="noeviction")
    assert server.client.config_get("maxmemory") == {"maxmemory": str(50 * 1024 * 1024)}
    assert server.client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

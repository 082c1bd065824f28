"""What a link says of a server that lets nobody in, or takes no command. On both loops."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.taskqueue.errors import NotSent, OutOfMemory
from tests.conftest import ServerFactory
from tests.integration.taskqueue.redis.links import (
    COUNT,
    LinkFactory,
    at,
    failure,
)
from tests.servers import RedisServer

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


# Logging in


async def test_a_password(new_server: ServerFactory, new_link: LinkFactory) -> None:
    server = new_server()
    server.client.config_set("requirepass", "hush")

    assert await new_link(at(server, password="hush")).call("ECHO", "in") == b"in"


async def test_a_user_of_its_own(new_server: ServerFactory, new_link: LinkFactory) -> None:
    server = new_server()
    server.client.execute_command("ACL", "SETUSER", "alice", "on", ">hush", "~*", "+@all")
    link = new_link(at(server, username="alice", password="hush"))

    assert await link.call("ACL", "WHOAMI") == b"alice"


@pytest.mark.parametrize("password", ["hush", None])
async def test_a_wrong_or_missing_password_is_not_sent(
    new_server: ServerFactory, new_link: LinkFactory, password: str | None
) -> None:
    server = new_server()
    server.client.config_set("requirepass", "another")

    with pytest.raises(
        NotSent, match=r"refused the login or the command: .*check the user and password"
    ) as caught:
        await new_link(at(server, password=password)).call("PING")

    assert "hush" not in str(caught.value)


async def test_a_login_or_database_that_the_server_does_not_have_leads_to_the_url(
    server: RedisServer, new_link: LinkFactory
) -> None:
    for target in (at(server, password="hush"), at(server, db=77)):
        with pytest.raises(NotSent, match="check user, password and database in REDIS_URL"):
            await new_link(target).call("PING")


async def test_a_quoted_password_is_blotted_out(
    new_server: ServerFactory, new_link: LinkFactory, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed.conf"
    renamed.write_text("rename-command AUTH LOGIN\n")
    server = new_server(include=str(renamed))

    with pytest.raises(NotSent, match=r"unknown command 'AUTH'.*\*\*\*") as caught:
        await new_link(at(server, password="hush")).call("PING")

    assert "hush" not in str(caught.value)


async def test_a_user_without_the_right_to_name_connections_hears_so(
    new_server: ServerFactory, new_link: LinkFactory
) -> None:
    server = new_server()
    server.client.execute_command("ACL", "SETUSER", "bob", "on", ">hush", "~*", "+@all", "-client")

    with pytest.raises(NotSent, match=r"NOPERM.*client"):
        await new_link(at(server, username="bob", password="hush")).call("PING")


async def test_a_user_who_may_not_ask_for_the_role_is_let_in(
    new_server: ServerFactory, new_link: LinkFactory
) -> None:
    server = new_server()
    server.client.execute_command("ACL", "SETUSER", "eve", "on", ">hush", "~*", "+@all", "-role")

    assert await new_link(at(server, username="eve", password="hush")).call("PING") == b"PONG"


async def test_a_full_server_is_not_sent(new_server: ServerFactory, new_link: LinkFactory) -> None:
    server = new_server(maxclients=1)
    server.client.ping()

    with pytest.raises(NotSent, match="max number of clients reached"):
        await new_link(at(server)).call("PING")


# Refusals


async def test_a_server_that_loads_its_data_is_not_sent(
    new_server: ServerFactory, new_link: LinkFactory
) -> None:
    server = new_server(
        "redis-7.0", enable_debug_command="yes", loading_process_events_interval_bytes=1024
    )
    with server.client.pipeline(transaction=False) as pipe:
        for i in range(100):
            pipe.set(f"k{i}", bytes(1100))
        pipe.execute()
    link = new_link(at(server), timeout_seconds=5)
    await link.connect()
    server.client.config_set("key-load-delay", 10_000)
    reload = threading.Thread(target=server.client.execute_command, args=("DEBUG", "RELOAD"))
    reload.start()
    try:
        while (error := await failure(link.call("GET", "k"))) is None:
            pass
        assert isinstance(error, NotSent)
        assert "takes no commands now: LOADING" in str(error)
        with pytest.raises(NotSent, match="LOADING"):
            await new_link(at(server), scripts=[COUNT], timeout_seconds=5).call("GET", "k")
    finally:
        reload.join()

    assert await link.call("EXISTS", "k1") == 1


def is_busy(server: RedisServer) -> bool:
    try:
        server.client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


@pytest.fixture
def busy_server(server: RedisServer) -> Iterator[RedisServer]:
    """A server in the middle of a script that does not end by itself."""
    server.client.config_set("lua-time-limit", 20)
    other = redis.Redis(port=server.port, socket_timeout=30, retry=Retry(NoBackoff(), 0))

    def spin() -> None:
        with pytest.raises(redis.ResponseError, match="killed"):
            other.eval("while true do end", 0)

    spinning = threading.Thread(target=spin)
    spinning.start()
    while not is_busy(server):
        time.sleep(0.01)
    yield server
    server.client.script_kill()
    spinning.join()
    other.close()
    server.client.config_set("lua-time-limit", 5000)


async def test_a_busy_server_is_not_sent(busy_server: RedisServer, new_link: LinkFactory) -> None:
    with pytest.raises(NotSent, match="takes no commands now: BUSY"):
        await new_link(at(busy_server), scripts=[COUNT], timeout_seconds=5).call("PING")


async def test_a_script_out_of_memory_is_told_apart(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(any_server), scripts=[COUNT])
    await link.connect()
    any_server.client.config_set("maxmemory", 1)

    with pytest.raises(OutOfMemory, match="is at its memory limit"):
        await link.evalsha(COUNT, ("n",), ())
    with pytest.raises(OutOfMemory):
        await link.call("SET", "k", "v")
    assert await link.call("GET", "n") is None


async def test_a_server_at_its_memory_limit_still_lets_clients_in(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    any_server.client.set("k", "v")
    any_server.client.config_set("maxmemory", 1)

    link = new_link(at(any_server), scripts=[COUNT])

    assert await link.call("GET", "k") == b"v"
    assert await link.call("SCRIPT", "EXISTS", COUNT.sha) == [1]

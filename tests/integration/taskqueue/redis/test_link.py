"""A link's calls, and their scripts. On both loops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace.taskqueue.redis.connection import Endpoint, ReplyError
from tests.conftest import ServerFactory
from tests.integration.taskqueue.redis.links import (
    ADD,
    COUNT,
    FAIL,
    LinkFactory,
    at,
    blocked,
)
from tests.servers import RedisServer

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


# Calls


async def test_a_call_connects_by_itself(server: RedisServer, new_link: LinkFactory) -> None:
    link = new_link(at(server))

    assert await link.call("SET", "k", "v") == b"OK"

    assert link.state == "closed"
    assert link.problem is None


async def test_an_error_reply_is_raised(server: RedisServer, new_link: LinkFactory) -> None:
    with pytest.raises(ReplyError, match=r"^ERR unknown command"):
        await new_link(at(server)).call("NONSENSE")


async def test_calls_made_together_have_their_errors_in_place(
    server: RedisServer, new_link: LinkFactory
) -> None:
    replies = await new_link(at(server)).call_together([("ECHO", 1), ("NONSENSE",), ("ECHO", 2)])

    assert [replies[0], replies[2]] == [b"1", b"2"]
    assert isinstance(replies[1], ReplyError)


async def test_no_calls_together_are_no_call(server: RedisServer, new_link: LinkFactory) -> None:
    link = new_link(at(server))

    assert await link.call_together([]) == []
    assert link.attempts == 0


async def test_concurrent_calls_share_one_attempt_to_connect(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))

    replies = await asyncio.gather(*(link.call("ECHO", i) for i in range(50)))

    assert replies == [str(i).encode() for i in range(50)]
    assert link.attempts == 1


async def test_a_caller_cancelled_while_connecting_harms_no_other(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))
    first = asyncio.create_task(link.call("ECHO", "1"))
    second = asyncio.create_task(link.call("ECHO", "2"))
    await asyncio.sleep(0)

    first.cancel()

    assert await second == b"2"
    assert first.cancelled()


async def test_a_cancelled_call_leaves_the_order_of_replies(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))
    await link.connect()
    calls = [asyncio.create_task(link.call("ECHO", i)) for i in range(20)]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()

    replies = await asyncio.gather(*calls, return_exceptions=True)

    for i, reply in enumerate(replies):
        assert isinstance(reply, asyncio.CancelledError) if i % 3 == 0 else reply == b"%d" % i


async def test_the_connection_has_a_name_a_database_and_an_id(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server, db=3), client_name="headrace-test")
    await link.connect()

    [me] = [c for c in server.client.client_list() if c["name"] == "headrace-test"]

    assert int(me["id"]) == link.client_id
    assert me["db"] == "3"


async def test_a_unix_socket(
    new_server: ServerFactory, new_link: LinkFactory, tmp_path: Path
) -> None:
    path = str(tmp_path / "redis.sock")
    new_server(unixsocket=path)

    assert await new_link(Endpoint(path=path)).call("ECHO", "there") == b"there"


async def test_a_wait_on_a_list_can_be_ended_and_the_next_command_follows(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    waiting, link = new_link(at(any_server), scripts=[COUNT]), new_link(at(any_server))
    await waiting.connect()
    both = asyncio.create_task(
        waiting.call_together([("BLPOP", "none", 10), COUNT.command(("n",), ())], timeout=11)
    )
    await blocked(any_server)
    assert waiting.client_id is not None

    assert await link.call("CLIENT", "UNBLOCK", waiting.client_id) == 1

    assert await both == [None, 1]


# Scripts


async def test_scripts_are_there_from_the_first_call_on(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(any_server), scripts=[COUNT, ADD])

    await link.connect()

    assert await link.call("SCRIPT", "EXISTS", COUNT.sha, ADD.sha) == [1, 1]
    assert await link.evalsha(ADD, ("n",), (5,)) == 5


async def test_a_forgotten_script_is_loaded_again_and_runs_once(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(any_server), scripts=[COUNT])
    await link.connect()
    any_server.client.script_flush()

    assert await link.evalsha(COUNT, ("n",), ()) == 1
    assert await link.evalsha(COUNT, ("n",), ()) == 2


async def test_of_calls_together_only_those_without_their_script_are_sent_again(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(any_server), scripts=[COUNT, ADD])
    await link.connect()
    any_server.client.script_flush()
    any_server.client.script_load(COUNT.text.decode())

    replies = await link.call_together(
        [COUNT.command(("n",), ()), ADD.command(("m",), (10,))] * 2,
    )

    assert replies == [1, 10, 2, 20]


async def test_what_is_sent_again_is_confirmed_again(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(any_server), scripts=[COUNT])
    await link.connect()
    any_server.client.script_flush()
    any_server.client.config_resetstat()
    wait = ("WAIT", 0, 10)

    replies = await link.call_together([wait, COUNT.command(("n",), ()), wait])

    assert replies == [0, 1, 0]
    assert any_server.client.info("commandstats")["cmdstat_wait"]["calls"] == 3


async def test_a_script_that_the_link_does_not_know_is_an_error(
    server: RedisServer, new_link: LinkFactory
) -> None:
    with pytest.raises(ReplyError, match=r"^NOSCRIPT"):
        await new_link(at(server)).evalsha(COUNT, ("n",), ())


async def test_a_scripts_own_error_comes_with_its_text(
    any_server: RedisServer, new_link: LinkFactory
) -> None:
    with pytest.raises(ReplyError, match=r"^EPOCH abc$") as caught:
        await new_link(at(any_server), scripts=[FAIL]).evalsha(FAIL, (), ())

    assert caught.value.code == "EPOCH"

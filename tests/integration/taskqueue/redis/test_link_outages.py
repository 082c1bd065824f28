"""What becomes of a link's calls while Redis is away, hangs or cuts them off. On both loops."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace.taskqueue.errors import NoReply, NotSent
from headrace.taskqueue.redis.connection import Endpoint
from tests.integration.taskqueue.redis.links import (
    ADD,
    COUNT,
    TIMEOUT_SECONDS,
    LinkFactory,
    at,
    blocked,
    soon_again,
)
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def test_calls_go_on_after_a_restart(server: RedisServer, new_link: LinkFactory) -> None:
    link = new_link(at(server), scripts=[COUNT])
    await link.evalsha(COUNT, ("n",), ())

    server.restart()
    await asyncio.sleep(0.05)

    assert await link.evalsha(COUNT, ("n",), ()) == 1
    assert link.attempts == 2


async def test_refused_is_not_sent_and_opens_the_circuit(new_link: LinkFactory) -> None:
    port = free_port()
    link = new_link(Endpoint(host="127.0.0.1", port=port, password="hush"))

    with pytest.raises(NotSent, match=rf"Redis at 127.0.0.1:{port} cannot be reached") as caught:
        await link.call("PING")

    assert link.state == "open"
    assert link.problem == str(caught.value)
    assert "hush" not in str(caught.value)


async def test_while_the_circuit_is_open_calls_fail_without_an_attempt(
    new_link: LinkFactory,
) -> None:
    link = new_link(Endpoint(host="127.0.0.1", port=free_port()))

    for _ in range(20):
        with pytest.raises(NotSent):
            await link.call("PING")

    assert link.attempts == 1


async def test_attempts_become_rarer_and_stop_at_the_longest_pause(new_link: LinkFactory) -> None:
    link = new_link(Endpoint(host="127.0.0.1", port=free_port()))
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        with pytest.raises(NotSent):
            await link.call("PING")
        await asyncio.sleep(0.005)

    # Pauses of 0.1, 0.2, 0.4, 0.8 s, each between a half and the whole of it.
    assert 4 <= link.attempts <= 6


async def test_a_server_that_comes_back_closes_the_circuit(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))
    await link.connect()
    server.terminate()
    await asyncio.sleep(0.05)
    with pytest.raises(NotSent):
        await link.call("PING")
    assert link.problem is not None

    server.start()

    await soon_again(link)
    assert link.state == "closed"


async def test_a_hung_server_is_no_reply_then_not_sent_then_not_sent_at_once(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))
    await link.connect()
    server.pause()

    begun = time.monotonic()
    with pytest.raises(NoReply, match="did not answer in time"):
        await link.call("INCR", "n")
    assert time.monotonic() - begun < TIMEOUT_SECONDS * 2

    begun = time.monotonic()
    with pytest.raises(NotSent, match=r"did not let a client in within 0.3 s"):
        await link.call("INCR", "n")
    assert time.monotonic() - begun < TIMEOUT_SECONDS * 2

    begun = time.monotonic()
    with pytest.raises(NotSent):
        await link.call("INCR", "n")
    assert time.monotonic() - begun < 0.05

    server.resume()
    await soon_again(link)
    assert await link.call("GET", "n") == b"1"  # what got no reply was carried out


async def test_with_a_hung_server_only_the_call_that_tries_waits(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))
    server.pause()
    with pytest.raises(NotSent):
        await link.call("PING")
    await asyncio.sleep(0.15)  # longer than the first back-off

    trying = asyncio.create_task(link.call("PING"))
    await asyncio.sleep(0)
    begun = time.monotonic()
    with pytest.raises(NotSent):
        await link.call("PING")

    assert time.monotonic() - begun < 0.05
    with pytest.raises(NotSent):
        await trying
    assert link.attempts == 2


async def test_what_is_cut_off_is_done_once_or_not_at_all(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server), scripts=[ADD])
    outcomes: dict[str, int] = {"done": 0, "NoReply": 0, "NotSent": 0}
    over = False

    async def count(key: str) -> None:
        last = 0
        while not over:
            try:
                now = await link.evalsha(ADD, (key,), (1,))
            except (NoReply, NotSent) as error:
                outcomes[type(error).__name__] += 1
                await asyncio.sleep(0.01)
            else:
                assert now > last  # the reply is this caller's own
                last = now
                outcomes["done"] += 1

    callers = [asyncio.create_task(count(f"n{i}")) for i in range(20)]
    for _ in range(20):
        await asyncio.sleep(0.03)
        server.cut_connections()
    over = True
    await asyncio.gather(*callers)

    written = sum(int(server.client.get(f"n{i}") or 0) for i in range(20))
    assert outcomes["NoReply"] > 0
    assert outcomes["done"] <= written <= outcomes["done"] + outcomes["NoReply"]


async def test_calls_together_cut_off_say_which_were_answered(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))
    await link.connect()
    calls = asyncio.create_task(
        link.call_together([("ECHO", "1"), ("BLPOP", "none", 5)], timeout=6)
    )
    await blocked(server)

    server.kill()

    answered, cut = await calls
    assert answered == b"1"
    assert isinstance(cut, NoReply)


async def test_closing_ends_calls_in_flight_and_refuses_later_ones(
    server: RedisServer, new_link: LinkFactory
) -> None:
    link = new_link(at(server))
    await link.connect()
    waiting = asyncio.create_task(link.call("BLPOP", "none", 5, timeout=6))
    await asyncio.sleep(0.02)

    link.close()
    link.close()

    with pytest.raises(NoReply, match="closed here"):
        await waiting
    with pytest.raises(NotSent, match="was closed"):
        await link.call("PING")


async def test_closing_while_connecting(server: RedisServer, new_link: LinkFactory) -> None:
    link = new_link(at(server))
    server.pause()
    waiting = asyncio.create_task(link.call("PING"))
    await asyncio.sleep(0.02)

    link.close()

    with pytest.raises(NotSent, match="was closed"):
        await waiting

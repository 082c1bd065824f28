"""One connection: order, time-outs, and what a server may do to it. On both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from headrace.taskqueue.errors import NoReply, NotSent
from headrace.taskqueue.redis.connection import Connection, Endpoint, ReplyError, dial, exchange
from tests.servers import RedisServer

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

TIMEOUT_SECONDS = 0.3


@pytest.fixture
async def connection(server: RedisServer) -> AsyncIterator[Connection]:
    made = await dial(Endpoint(host="127.0.0.1", port=server.port), TIMEOUT_SECONDS)
    yield made
    if not made.closed:
        made.retire()


@contextlib.asynccontextmanager
async def connected_to(
    answer: Callable[[bytes], list[bytes]],
) -> AsyncIterator[tuple[Connection, list[bytes]]]:
    """A connection to a server of three lines, and what arrived there, read by read.

    `answer` makes the packets that answer what was read.
    """
    arrived: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            arrived.append(data)
            for packet in answer(data):
                writer.write(packet)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        made = await dial(Endpoint(host="127.0.0.1", port=port), TIMEOUT_SECONDS)
        try:
            yield made, arrived
        finally:
            if not made.closed:
                made.fail("the test is over")
            await asyncio.sleep(0.01)  # the serving task sees the end


async def test_replies_reach_their_callers_in_order(connection: Connection) -> None:
    futures = [connection.send(("ECHO", str(i))) for i in range(500)]

    assert await asyncio.gather(*futures) == [str(i).encode() for i in range(500)]


async def test_several_commands_leave_in_one_write() -> None:
    async with connected_to(lambda data: [b"+OK\r\n" * data.count(b"*")]) as (connection, arrived):
        replies = await exchange(connection, [("SET", "k", i) for i in range(3)])

    assert replies == [b"OK"] * 3
    assert len(arrived) == 1


async def test_a_reply_may_come_byte_by_byte() -> None:
    reply = b"*3\r\n$5\r\nhello\r\n:42\r\n*1\r\n$-1\r\n"
    pieces = [reply[i : i + 1] for i in range(len(reply))]

    async with connected_to(lambda _: pieces) as (connection, _):
        assert await connection.send(("GET", "k")) == [b"hello", 42, [None]]


async def test_a_large_reply_comes_whole(connection: Connection) -> None:
    value = bytes(range(256)) * 40_000

    replies = await exchange(connection, [("SET", "k", value), ("GET", "k"), ("ECHO", "after")])

    assert replies == [b"OK", value, b"after"]


async def test_an_error_reply_stands_in_its_place(connection: Connection) -> None:
    replies = await exchange(connection, [("ECHO", "1"), ("NONSENSE",), ("ECHO", "2")])

    assert [replies[0], replies[2]] == [b"1", b"2"]
    assert isinstance(replies[1], ReplyError)
    assert replies[1].code == "ERR"


async def test_a_cancelled_callers_reply_goes_to_nobody_else(connection: Connection) -> None:
    futures = [connection.send(("ECHO", str(i))) for i in range(10)]
    for i in (0, 4, 9):
        futures[i].cancel()

    last = await connection.send(("ECHO", "last"))

    kept = [future.result() for future in futures if not future.cancelled()]
    assert kept == [str(i).encode() for i in range(10) if i not in (0, 4, 9)]
    assert last == b"last"


async def test_a_silent_server_is_given_up_within_the_time_out(
    server: RedisServer, connection: Connection
) -> None:
    server.pause()
    begun = time.monotonic()
    first, second = connection.write([("ECHO", "1"), ("ECHO", "2")])

    reply = await first

    assert isinstance(reply, NoReply)
    assert isinstance(await second, NoReply)
    assert TIMEOUT_SECONDS <= time.monotonic() - begun < TIMEOUT_SECONDS * 2
    assert "did not answer in time" in str(reply)
    with pytest.raises(NotSent):
        connection.send(("ECHO", "3"))


async def test_a_stalled_event_loop_is_not_taken_for_a_silent_server(
    connection: Connection,
) -> None:
    future = connection.send(("ECHO", "there"))

    time.sleep(TIMEOUT_SECONDS * 2)  # noqa: ASYNC251  (the stall)

    assert await future == b"there"


async def test_a_blocking_call_may_take_longer_and_so_may_those_behind_it(
    connection: Connection,
) -> None:
    blocked = connection.send(("BLPOP", "none", TIMEOUT_SECONDS * 2), connection.ticks(2))
    behind = connection.send(("ECHO", "behind"))

    assert await behind == b"behind"
    assert await blocked is None


async def test_after_a_blocking_call_the_time_out_is_the_usual_one(
    server: RedisServer, connection: Connection
) -> None:
    await connection.send(("BLPOP", "none", 0.01), connection.ticks(60))
    server.pause()

    async with asyncio.timeout(TIMEOUT_SECONDS * 3):
        assert isinstance(await connection.send(("ECHO", "1")), NoReply)


async def test_a_lost_connection_fails_what_is_unanswered(
    server: RedisServer, connection: Connection
) -> None:
    blocked = connection.send(("BLPOP", "none", 5), connection.ticks(6))
    await asyncio.sleep(0.02)

    server.kill()

    reply = await blocked
    assert isinstance(reply, NoReply)
    assert f"Redis at 127.0.0.1:{server.port} closed the connection" in str(reply)
    assert connection.closed


async def test_a_retired_connection_still_reads_its_replies(connection: Connection) -> None:
    futures = connection.write([("ECHO", "1"), ("ECHO", "2")])

    connection.retire()

    assert await asyncio.gather(*futures) == [b"1", b"2"]
    assert connection.closed


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak the Redis protocol"),
        (b"\x15\x03\x03\x00\x02\x02", "does not speak the Redis protocol"),
    ],
)
async def test_another_protocol_ends_the_connection(answer: bytes, why: str) -> None:
    async with connected_to(lambda _: [answer]) as (connection, _):
        reply = await connection.send(("PING",))

        assert isinstance(reply, NoReply)
        assert why in str(reply)
        assert connection.closed


async def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    async with connected_to(lambda _: [b"+OK\r\n+OK\r\n"]) as (connection, _):
        assert await connection.send(("PING",)) == b"OK"
        await asyncio.sleep(0.02)

        assert connection.closed


async def test_commands_are_packed_before_anything_is_expected(connection: Connection) -> None:
    wrong: Any = ("ECHO", None)
    with pytest.raises(TypeError):
        connection.send(wrong)
    with pytest.raises(TypeError):
        connection.write([("ECHO", "1"), wrong])

    assert await connection.send(("ECHO", "2")) == b"2"


async def test_small_writes_leave_at_once_and_a_dead_peer_is_noticed(
    connection: Connection,
) -> None:
    sock = connection._transport.get_extra_info("socket")

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

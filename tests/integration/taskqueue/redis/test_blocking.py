"""Calls over a blocking socket: errors, outages, threads, forks."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.taskqueue.errors import NoReply, NotSent, OutOfMemory
from headrace.taskqueue.redis.blocking import IDLE_SECONDS, BlockingLink
from headrace.taskqueue.redis.connection import Endpoint, ReplyError, Script
from tests.conftest import ServerFactory
from tests.servers import RedisServer, free_port

TIMEOUT_SECONDS = 0.3
COUNT = Script(b"return redis.call('INCR', KEYS[1])")


def at(server: RedisServer, **options: Any) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=server.port, **options)


class CountingLink(BlockingLink):
    """A link that goes through endpoints, one an attempt, stays with the last, and counts."""

    def __init__(self, *endpoints: Endpoint, **options: Any) -> None:
        self.attempts = 0

        def locate() -> Endpoint:
            self.attempts += 1
            return endpoints[min(self.attempts, len(endpoints)) - 1]

        super().__init__(locate, **{"timeout_seconds": TIMEOUT_SECONDS, **options})


@pytest.fixture
def new_link() -> Iterator[Callable[..., CountingLink]]:
    made: list[CountingLink] = []

    def new(*endpoints: Endpoint, **options: Any) -> CountingLink:
        made.append(CountingLink(*endpoints, **options))
        return made[-1]

    yield new
    for link in made:
        link.close()


NewLink = Callable[..., CountingLink]


def test_a_call_connects_by_itself_once(any_server: RedisServer, new_link: NewLink) -> None:
    link = new_link(at(any_server, db=3), client_name="me")
    assert link.call("SET", "k", "v") == b"OK"
    assert link.call("CLIENT", "GETNAME") == b"me"
    assert link.attempts == 1
    assert any_server.client.get("k") is None, "it is in database 3"


def test_errors_stand_in_place_and_a_single_one_is_raised(
    server: RedisServer, new_link: NewLink
) -> None:
    link = new_link(at(server))
    first, error, last = link.call_together([("ECHO", 1), ("NONSENSE",), ("ECHO", 2)])
    assert (first, last) == (b"1", b"2")
    assert isinstance(error, ReplyError)
    with pytest.raises(ReplyError, match=r"^ERR unknown command"):
        link.call("NONSENSE")


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_replies_of_any_size_arrive(server: RedisServer, new_link: NewLink, size: int) -> None:
    link = new_link(at(server), timeout_seconds=5)
    replies = link.call_together([("ECHO", b"x" * size), ("ECHO", "y")])
    assert [len(replies[0]), replies[1]] == [size, b"y"]


def test_a_forgotten_script_is_loaded(server: RedisServer, new_link: NewLink) -> None:
    link = new_link(at(server), scripts=[COUNT])
    assert link.evalsha(COUNT, ("n",), ()) == 1
    server.client.script_flush()
    replies = link.call_together([("ECHO", 1), COUNT.command(("n",), ()), ("ECHO", 2)])
    assert replies == [b"1", 2, b"2"]


def test_a_server_that_is_silent_is_not_waited_for_and_nothing_is_sent_twice(
    server: RedisServer, new_link: NewLink
) -> None:
    link = new_link(at(server))
    link.call("PING")
    server.pause()
    began = time.monotonic()
    with pytest.raises(NoReply, match="did not answer in time: the command may have been"):
        link.call("INCR", "n")
    assert TIMEOUT_SECONDS * 0.9 < time.monotonic() - began < TIMEOUT_SECONDS * 3
    server.resume()
    assert link.call("GET", "n") == b"1", "and the late reply is out of the way"
    assert link.attempts == 2


def test_a_blocking_command_may_take_longer(server: RedisServer, new_link: NewLink) -> None:
    link = new_link(at(server))
    wait = TIMEOUT_SECONDS * 1.5
    assert link.call("BLPOP", "none", f"{wait}", timeout=wait + TIMEOUT_SECONDS) is None
    server.pause()
    began = time.monotonic()
    with pytest.raises(NoReply):
        link.call("PING")  # the time-out is the link's again
    assert time.monotonic() - began < TIMEOUT_SECONDS * 3
    server.resume()


def test_a_slow_trickle_of_a_reply_takes_no_longer_than_the_time_out(new_link: NewLink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(10_000)
                sock.sendall(b"+OK\r\n:7\r\n*1\r\n$6\r\nmaster\r\n")
                sock.recv(10_000)
                for _ in range(20):
                    time.sleep(TIMEOUT_SECONDS / 3)
                    try:
                        sock.sendall(b"$")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        link = new_link(Endpoint(host="127.0.0.1", port=port))
        began = time.monotonic()
        with pytest.raises(NoReply):
            link.call("PING")
        assert time.monotonic() - began < TIMEOUT_SECONDS * 4
        thread.join()


def test_where_nobody_listens_nothing_is_sent(new_link: NewLink) -> None:
    link = new_link(Endpoint(host="127.0.0.1", port=free_port()))
    with pytest.raises(NotSent, match=r"cannot be reached .*check that it runs, and REDIS_URL"):
        link.call("PING")


def test_it_connects_again_after_a_restart(new_server: ServerFactory, new_link: NewLink) -> None:
    server = new_server()
    link = new_link(at(server))
    link.call("PING")
    server.restart()
    time.sleep(IDLE_SECONDS)
    assert link.call("PING") == b"PONG", "it was seen that the old connection is gone"
    assert link.attempts == 2


def test_a_connection_that_is_cut_tells_that_the_outcome_is_unknown(
    server: RedisServer, new_link: NewLink
) -> None:
    link = new_link(at(server))
    link.call("PING")
    server.client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(NoReply, match="closed the connection"):
        link.call("INCR", "n")
    assert link.call("PING") == b"PONG"


def test_a_replica_is_refused_and_the_master_is_looked_for_again(
    any_server: RedisServer, new_server: ServerFactory, new_link: NewLink
) -> None:
    other = new_server(any_server.kind)
    link = new_link(at(any_server), at(other), scripts=[COUNT])
    assert link.evalsha(COUNT, ("n",), ()) == 1
    any_server.client.replicaof("127.0.0.1", other.port)
    try:
        assert link.evalsha(COUNT, ("m",), ()) == 1
    finally:
        any_server.client.replicaof("NO", "ONE")
    assert link.attempts == 2
    assert other.client.get("m") == b"1"


def test_a_refused_login_hides_the_password(server: RedisServer, new_link: NewLink) -> None:
    link = new_link(at(server, username="nobody", password="hush"))
    with pytest.raises(NotSent, match=r"did not let this client in|refused the login") as caught:
        link.call("PING")
    assert "hush" not in str(caught.value)


def test_a_login_is_made(new_server: ServerFactory, new_link: NewLink) -> None:
    server = new_server()
    server.client.execute_command("ACL SETUSER me on >hush ~* +@all")
    link = new_link(at(server, username="me", password="hush"))
    assert link.call("ACL", "WHOAMI") == b"me"


def test_a_full_server_says_so(new_server: ServerFactory, new_link: NewLink) -> None:
    server = new_server(maxmemory="1mb", maxmemory_policy="noeviction")
    link = new_link(at(server))

    def fill() -> None:
        for number in range(100):
            link.call("SET", f"k{number}", b"x" * 100_000)

    with pytest.raises(OutOfMemory):
        fill()


def test_a_unix_socket(new_server: ServerFactory, new_link: NewLink, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    new_server(unixsocket=str(path))
    assert new_link(Endpoint(path=str(path))).call("PING") == b"PONG"
    with pytest.raises(NotSent, match="cannot be reached"):
        new_link(Endpoint(path=str(tmp_path / "none"))).call("PING")


def test_a_closed_link_sends_nothing(server: RedisServer, new_link: NewLink) -> None:
    link = new_link(at(server))
    link.call("PING")
    link.close()
    with pytest.raises(NotSent, match="was closed"):
        link.call("PING")


def test_threads_may_share_a_link(server: RedisServer, new_link: NewLink) -> None:
    link = new_link(at(server), timeout_seconds=5)

    def echo(number: int) -> bool:
        return bool(link.call("ECHO", number) == str(number).encode())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(echo, range(2000)))
    assert link.attempts == 1


def test_a_forked_process_makes_a_connection_of_its_own(
    server: RedisServer, new_link: NewLink
) -> None:
    link = new_link(at(server), timeout_seconds=5)
    mine = link.call("CLIENT", "ID")
    # The child is forked while another thread is in a call, and so holds the lock.
    waiting = threading.Thread(target=link.call, args=("BLPOP", "go", "5"))
    waiting.start()
    while not server.client.info("clients")["blocked_clients"]:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if link.call("CLIENT", "ID") != mine else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    server.client.lpush("go", 1)
    waiting.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert link.call("CLIENT", "ID") == mine


def test_an_interrupted_call_leaves_no_reply_to_the_next(
    server: RedisServer, new_link: NewLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = new_link(at(server))
    link.call("PING")
    connection = link._connection
    assert connection is not None

    class Interrupting:
        def feed(self, data: bytes) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(connection, "_reader", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        link.call("ECHO", "old")
    assert link.call("ECHO", "new") == b"new"

"""A link's calls through outages, forgotten scripts, refusals and failovers. On both loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.taskqueue.errors import NoReply, NotSent, OutOfMemory
from headrace.taskqueue.redis.connection import Endpoint, ReplyError, Script
from headrace.taskqueue.redis.link import LONGEST_BACKOFF_SECONDS, Link
from tests.conftest import ServerFactory
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

TIMEOUT_SECONDS = 0.3

COUNT = Script(b"return redis.call('INCR', KEYS[1])")
ADD = Script(b"return redis.call('INCRBY', KEYS[1], ARGV[1])")
FAIL = Script(b"return redis.error_reply('EPOCH abc')")


class LinkFactory(Protocol):
    """What the fixture `new_link` is."""

    def __call__(self, *endpoints: Endpoint, **options: Any) -> CountingLink: ...


class CountingLink(Link):
    """A link that goes through endpoints, one an attempt, stays with the last, and counts."""

    def __init__(self, *endpoints: Endpoint, **options: Any) -> None:
        self.attempts = 0

        async def locate() -> Endpoint:
            self.attempts += 1
            return endpoints[min(self.attempts, len(endpoints)) - 1]

        super().__init__(locate, **{"timeout_seconds": TIMEOUT_SECONDS, **options})


@pytest.fixture
async def new_link() -> Any:
    made: list[CountingLink] = []

    def new(*endpoints: Endpoint, **options: Any) -> CountingLink:
        made.append(CountingLink(*endpoints, **options))
        return made[-1]

    yield new
    for link in made:
        link.close()
    await asyncio.sleep(0.01)  # the event loop closes the sockets


def at(server: RedisServer, **options: Any) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=server.port, **options)


async def soon_again(link: Link) -> None:
    """Wait until the link is connected; fails after a time that every back-off is shorter than."""
    deadline = time.monotonic() + LONGEST_BACKOFF_SECONDS + 2
    while True:
        try:
            await link.call("PING")
            return
        except NotSent:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def blocked(server: RedisServer) -> None:
    """Wait until a client waits on a list."""
    while not server.client.info("clients")["blocked_clients"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def failure(call: Awaitable[Any]) -> Exception | None:
    """What the call raised."""
    try:
        await call
    except Exception as error:
        return error
    return None


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


# Outages


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


# A master that has moved


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

"""From REDIS_URL to a working link, blocking or not: TLS, Sentinel, Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.taskqueue.errors import NotSent, QueueUnavailable
from headrace.taskqueue.redis.blocking import BlockingLink
from headrace.taskqueue.redis.connection import Script
from headrace.taskqueue.redis.link import Link
from headrace.taskqueue.redis.locate import blocking_link, link, locate, locate_blocking
from headrace.taskqueue.redis.url import Target, parse_url
from tests.conftest import ServerFactory
from tests.sentinels import Watched, until, watched_master
from tests.servers import RedisServer, absent, available, binary, free_port

COUNT = Script(b"return redis.call('INCR', KEYS[1])")
KEY = "{headrace}:n"


@contextlib.asynccontextmanager
async def linked(target: Target, *scripts: Script) -> AsyncIterator[Link]:
    made = link(target, scripts)
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0.01)  # the event loop closes the sockets


@contextlib.contextmanager
def blocking(target: Target, *scripts: Script) -> Iterator[BlockingLink]:
    made = blocking_link(target, scripts)
    try:
        yield made
    finally:
        made.close()


async def wait_for_answer(made: Link, seconds: float = 15) -> None:
    """Wait until the link reaches Redis again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await made.call("PING")
        except QueueUnavailable:
            assert time.monotonic() < deadline, "Redis did not come back in time"
            await asyncio.sleep(0.05)
        else:
            return


async def test_a_unix_socket_serves_both_links(new_server: ServerFactory, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    new_server(unixsocket=str(path))
    target = parse_url(f"unix://{path}?db=2")

    async with linked(target, COUNT) as made:
        assert await made.evalsha(COUNT, (KEY,), ()) == 1
    with blocking(target) as client:
        assert client.call("GET", KEY) == b"1"


# TLS


@dataclass(frozen=True)
class Tls:
    """A server that speaks TLS on `port`, and the files of its CA and of a client."""

    server: RedisServer
    port: int
    ca: Path
    cert: Path
    key: Path

    @property
    def url(self) -> str:
        return f"rediss://localhost:{self.port}/0?tls_ca_file={self.ca}"


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A CA, and a certificate and key for `localhost`."""
    if shutil.which("openssl") is None:
        absent("openssl is not on PATH")
    ca, ca_key, cert, key = (folder / f for f in ("ca.pem", "ca.key", "cert.pem", "key.pem"))
    request, extensions = folder / "request.pem", folder / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost\n")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", ca_key, "-out", ca, "-subj", "/CN=Test CA")
    openssl("req", *new, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
    openssl(
        *("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial"),
        *("-out", cert, "-extfile", extensions),
    )
    return ca, cert, key


@pytest.fixture
def tls(new_server: ServerFactory, tmp_path: Path) -> Tls:
    program = binary(available("redis-7.0"))
    ca, cert, key = certificates(tmp_path)
    port = free_port()
    try:
        server = new_server(
            "redis-7.0",
            tls_port=port,
            tls_cert_file=str(cert),
            tls_key_file=str(key),
            tls_ca_cert_file=str(ca),
            tls_auth_clients="optional",
        )
    except RuntimeError as error:
        if "tls-port" not in str(error):
            raise
        absent(f"{program} was built without TLS")
    return Tls(server, port, ca, cert, key)


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
async def test_tls(tls: Tls) -> None:
    target = parse_url(tls.url)

    async with linked(target, COUNT) as made:
        assert await made.evalsha(COUNT, (KEY,), ()) == 1
        assert len(await made.call("ECHO", bytes(1_000_000))) == 1_000_000
    with blocking(target) as client:
        assert client.call("GET", KEY) == b"1"


async def test_tls_with_a_certificate_of_the_clients_own(tls: Tls) -> None:
    tls.server.client.config_set("tls-auth-clients", "yes")

    async with linked(parse_url(tls.url)) as made:
        with pytest.raises(NotSent):
            await made.call("PING")
    target = parse_url(f"{tls.url}&tls_cert_file={tls.cert}&tls_key_file={tls.key}")
    async with linked(target) as made:
        assert await made.call("PING") == b"PONG"
    with blocking(target) as client:
        assert client.call("PING") == b"PONG"


async def test_a_server_of_an_unknown_authority_is_not_trusted(tls: Tls) -> None:
    async with linked(parse_url(f"rediss://localhost:{tls.port}")) as made:
        with pytest.raises(NotSent, match=r"TLS with Redis at localhost:.*REDIS_TLS_CA_FILE"):
            await made.call("PING")


async def test_a_certificate_for_another_host_is_refused_unless_allowed(tls: Tls) -> None:
    url = tls.url.replace("localhost", "127.0.0.1")

    async with linked(parse_url(url)) as made:
        with pytest.raises(NotSent, match=r"TLS with Redis at 127\.0\.0\.1"):
            await made.call("PING")
    target = parse_url(f"{url}&tls_check_hostname=false")
    async with linked(target) as made:
        assert await made.call("PING") == b"PONG"
    with blocking(target) as client:
        assert client.call("PING") == b"PONG"


async def test_tls_with_a_server_that_speaks_none_is_told_of(server: RedisServer) -> None:
    async with linked(parse_url(server.url.replace("redis://", "rediss://"))) as made:
        with pytest.raises(NotSent, match=r"serves TLS on this port; without TLS, .* redis://"):
            await made.call("PING")


async def test_a_missing_ca_file_is_named(tls: Tls) -> None:
    target = parse_url(f"rediss://localhost:{tls.port}", tls_ca_file="/nowhere/ca.pem")

    async with linked(target) as made:
        with pytest.raises(NotSent, match=r"TLS files .*No such file.*: /nowhere/ca\.pem"):
            await made.call("PING")
    with (
        blocking(target) as client,
        pytest.raises(NotSent, match=r"TLS files .*No such file.*: /nowhere/ca\.pem"),
    ):
        client.call("PING")


async def test_no_tls_where_tls_is_spoken_and_the_reverse(tls: Tls) -> None:
    async with linked(parse_url(f"redis://localhost:{tls.port}")) as made:
        with pytest.raises(
            NotSent, match=r"during the handshake: .*rediss:// if the server speaks TLS"
        ):
            await made.call("PING")
    async with linked(parse_url(f"rediss://localhost:{tls.server.port}")) as made:
        with pytest.raises(NotSent, match=f"localhost:{tls.server.port}"):
            await made.call("PING")
    with (
        blocking(parse_url(f"redis://localhost:{tls.port}")) as client,
        pytest.raises(NotSent, match=r"rediss:// if the server speaks TLS"),
    ):
        client.call("PING")
    with (
        blocking(parse_url(f"rediss://localhost:{tls.server.port}")) as client,
        pytest.raises(NotSent, match="serves TLS on this port"),
    ):
        client.call("PING")


# Sentinel


@pytest.fixture
def watched(new_server: ServerFactory, tmp_path: Path) -> Iterator[Watched]:
    with watched_master(new_server, tmp_path) as found:
        yield found


async def test_sentinels_name_the_master(watched: Watched) -> None:
    target = parse_url(watched.url)

    async with linked(target, COUNT) as made:
        assert await made.evalsha(COUNT, (KEY,), ()) == 1
    with blocking(target) as client:
        assert client.call("GET", KEY) == b"1"
    assert (await locate(target)).port == watched.master.port
    assert locate_blocking(target) == await locate(target)


async def test_a_failover_is_followed_by_both_links(watched: Watched) -> None:
    target = parse_url(watched.url)
    async with linked(target, COUNT) as made:
        with blocking(target) as client:
            await made.call("SET", "k", "v")
            assert client.call("GET", "k") == b"v"

            watched.master.kill()

            await wait_for_answer(made)
            assert await made.call("CONFIG", "GET", "port") == [
                b"port",
                b"%d" % watched.replica.port,
            ]
            assert await made.evalsha(COUNT, (KEY,), ()) == 1
            with contextlib.suppress(QueueUnavailable):
                client.call("GET", KEY)  # the first call may learn that its connection is gone
            assert client.call("GET", KEY) == b"1"


async def test_sentinels_that_are_down_are_passed_over(watched: Watched) -> None:
    url = watched.url.replace("://", f"://127.0.0.1:{free_port()},")

    async with linked(parse_url(url)) as made:
        assert await made.call("PING") == b"PONG"
    with blocking(parse_url(url)) as client:
        assert client.call("PING") == b"PONG"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("mymaster", "another", "knows no master of this name"),
        ("=eye", "=hush", "invalid username-password pair"),
        ("?sentinel_password=eye", "", "Authentication required"),
    ],
)
async def test_why_no_sentinel_tells_is_said(
    watched: Watched, old: str, new: str, why: str
) -> None:
    target = parse_url(watched.url.replace(old, new))

    async with linked(target) as made:
        with pytest.raises(NotSent, match=rf"no Sentinel knows the master .*{why}") as caught:
            await made.call("PING")
    assert "hush" not in str(caught.value)
    with (
        blocking(target) as client,
        pytest.raises(NotSent, match=rf"no Sentinel knows the master .*{why}") as caught,
    ):
        client.call("PING")
    assert "hush" not in str(caught.value)


async def test_sentinels_that_hang_are_not_waited_for_long(watched: Watched) -> None:
    port = free_port()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()

    hung = await asyncio.start_server(serve, "127.0.0.1", port)
    target = parse_url(f"redis+sentinel://127.0.0.1:{port}/mymaster")
    async with hung, linked(target) as made:
        begun = time.monotonic()
        with pytest.raises(NotSent):
            await made.call("PING")
        assert time.monotonic() - begun < 1.5
        with pytest.raises(NotSent, match="did not answer in time"):
            await asyncio.to_thread(blocking_link(target).call, "PING")
        assert time.monotonic() - begun < 3


# Cluster


@pytest.fixture
def cluster(new_server: ServerFactory) -> RedisServer:
    """A Cluster of one node that owns every slot."""
    node = new_server("redis-7.0", cluster_enabled="yes")
    node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: cluster_info(node)["cluster_state"] == "ok")
    return node


def cluster_info(node: RedisServer) -> dict[str, str]:
    info: dict[str, str] = node.client.execute_command("CLUSTER INFO")
    return info


def url_of(*nodes: RedisServer) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


async def test_a_cluster_of_one_node(cluster: RedisServer) -> None:
    target = parse_url(url_of(cluster))

    async with linked(target, COUNT) as made:
        assert await made.call("CLUSTER", "KEYSLOT", "{headrace}:meta") == target.slot
        assert await made.evalsha(COUNT, (KEY,), ()) == 1
    with blocking(target) as client:
        assert client.call("GET", KEY) == b"1"


async def test_the_owner_is_followed_when_the_slot_moves(
    cluster: RedisServer, new_server: ServerFactory
) -> None:
    other = new_server("redis-7.0", cluster_enabled="yes")
    cluster.client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
    until(lambda: cluster_info(other)["cluster_state"] == "ok")
    until(lambda: cluster_info(cluster)["cluster_known_nodes"] == "2")
    target = parse_url(url_of(cluster))
    owner = other.client.execute_command("CLUSTER", "MYID").decode()
    async with linked(target, COUNT) as made:
        with blocking(target) as client:
            await made.connect()
            client.call("PING")

            for node in (other, cluster):
                node.client.execute_command("CLUSTER", "SETSLOT", target.slot, "NODE", owner)

            assert await made.evalsha(COUNT, (KEY,), ()) == 1
            assert other.client.get(KEY) == b"1"
            assert client.call("GET", KEY) == b"1"


async def test_nodes_that_are_down_are_passed_over(cluster: RedisServer) -> None:
    url = url_of(cluster).replace("://", f"://127.0.0.1:{free_port()},")

    async with linked(parse_url(url)) as made:
        assert await made.call("SET", KEY, "1") == b"OK"


async def test_a_server_that_is_no_cluster_says_so(server: RedisServer) -> None:
    async with linked(parse_url(url_of(server))) as made:
        with pytest.raises(
            NotSent, match=r"no node of the Redis Cluster .*cluster support disabled"
        ):
            await made.call("PING")

"""A master, its replica, and a Sentinel that makes the replica the master when it is lost."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import ServerFactory
from tests.servers import RedisServer, available, binary, free_port


def until(what: Callable[[], object], seconds: float = 15) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


@dataclass(frozen=True)
class Watched:
    """A master, its replica, and the port of the Sentinel that watches them."""

    master: RedisServer
    replica: RedisServer
    sentinel_port: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel_port}/mymaster/1?sentinel_password=eye"


@contextlib.contextmanager
def watched_master(new_server: ServerFactory, tmp_path: Path) -> Iterator[Watched]:
    """Start all three. They end with the context."""
    program = binary(available("redis-7.0"))
    assert program is not None
    master = new_server("redis-7.0", repl_diskless_sync_delay=0)
    replica = new_server("redis-7.0", replicaof=f"127.0.0.1 {master.port}")
    until(lambda: b"online" in str(master.client.info("replication")).encode())
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nrequirepass eye\n"
        f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds mymaster 300\n"
        "sentinel failover-timeout mymaster 2000\n"
    )
    with (
        subprocess.Popen(
            [program, config, "--sentinel"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process,
        contextlib.closing(
            redis.Redis(port=port, password="eye", retry=Retry(NoBackoff(), 0), protocol=2)
        ) as client,
    ):
        try:
            until(
                lambda: (
                    _answers(client) and client.execute_command("SENTINEL", "REPLICAS", "mymaster")
                )
            )
            yield Watched(master, replica, port)
        finally:
            process.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False

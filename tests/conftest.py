"""Fixtures that every test may use: real Redis servers, shared or private."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import KINDS, Kind, RedisServer, available, default_kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# How long an example takes says more of the machine than of the code: pytest's own time-out is the
# bound. What Hypothesis sets by itself in CI, the same examples each time, stays.
settings.register_profile(
    "headrace", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("headrace")


def pytest_configure() -> None:
    """A run that is ended by SIGTERM (`timeout`, CI) still ends the servers that it started."""

    def leave(*_: object) -> NoReturn:
        pytest.exit("ended by SIGTERM", returncode=143)

    signal.signal(signal.SIGTERM, leave)


class ServerFactory(Protocol):
    """What the fixture `new_server` is."""

    def __call__(
        self, kind: Kind | None = None, *, appendfsync: str | None = None, **options: str | int
    ) -> RedisServer:
        """Start a server: see `RedisServer`. Without a kind, the default one."""


class _SharedServers:
    """One server of each kind for the whole run, started when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[Kind, RedisServer] = {}

    def get(self, kind: Kind) -> RedisServer:
        if kind not in self._servers:
            self._servers[kind] = RedisServer(kind, self._folder / kind)
        server = self._servers[kind]
        server.reset()
        return server

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_SharedServers]:
    servers = _SharedServers(tmp_path_factory.mktemp("redis"))
    yield servers
    servers.close()


@pytest.fixture
def server(shared_servers: _SharedServers) -> RedisServer:
    """A real, empty Redis server of the default kind, shared by the run.

    A test may kill, pause or flush it: the next test finds it alive and empty. Its data does not
    outlive a kill; for that ask `new_server(appendfsync="always")`.
    """
    return shared_servers.get(default_kind())


@pytest.fixture(params=KINDS)
def any_server(request: pytest.FixtureRequest, shared_servers: _SharedServers) -> RedisServer:
    """As `server`, and the test runs once on each kind of server."""
    return shared_servers.get(available(request.param))


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[ServerFactory]:
    """Start servers of one's own: `new_server(appendfsync="always", maxmemory="50mb")`."""
    started: list[RedisServer] = []

    def start(
        kind: Kind | None = None, *, appendfsync: str | None = None, **options: str | int
    ) -> RedisServer:
        chosen = default_kind() if kind is None else available(kind)
        folder = tmp_path / f"redis-{len(started)}"
        started.append(RedisServer(chosen, folder, appendfsync=appendfsync, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()

"""A Redis server, an API and a worker as processes: one of each for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.api.processes import ApiProcess
from tests.integration.worker.conftest import Process
from tests.servers import RedisServer, default_kind


@dataclass(frozen=True)
class System:
    """What a client talks to."""

    redis: RedisServer
    api: ApiProcess

    def url(self, way: str) -> str:
        """The address of the API, or of Redis."""
        return self.api.url if way == "http" else self.redis.url


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder: Path = tmp_path_factory.mktemp("system")
    with RedisServer(default_kind(), folder) as redis:
        worker = Process(redis, folder / "worker.log", QUEUES="", MAX_WORKERS="20")
        try:
            with ApiProcess(folder / "api.log", {"REDIS_URL": redis.url}) as api:
                yield System(redis, api)
        finally:
            worker.kill()


@pytest.fixture(params=["http", "redis"])
def url(request: pytest.FixtureRequest, system: System) -> str:
    """Both ways to a task: over the API, and directly."""
    return system.url(request.param)

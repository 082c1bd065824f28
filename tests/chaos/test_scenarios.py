"""The long scenarios of `outages` and `workers`: all that are selected run at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos import outages, workers
from tests.chaos.lab import Lab, Scenario, StartLine

SCENARIOS: dict[str, Scenario] = {**outages.SCENARIOS, **workers.SCENARIOS}

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def under_way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[str]]]:
    """All selected scenarios, each begun in a thread of its own."""
    names = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == Path(__file__)
    ]
    line = StartLine(len(names))
    with ThreadPoolExecutor(len(names)) as threads:
        yield {
            name: threads.submit(_play, SCENARIOS[name], tmp_path_factory.mktemp(name), line)
            for name in names
        }


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, under_way: dict[str, Future[str]]) -> None:
    print(f"\n{name}: {under_way[name].result()}")


def _play(scenario: Scenario, folder: Path, line: StartLine) -> str:
    async def play() -> str:
        return await scenario(Lab(folder, line))

    try:
        return asyncio.run(play())
    finally:
        line.gone()

"""Fixtures for the workflow language's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from headrace.workflows import HttpPolicy, Runtime
from tests.unit.workflows.harness import Bench
from tests.unit.workflows.web import Web


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """A runtime that may call the test's own servers."""
    runtime = Runtime(HttpPolicy(allow=("*", "127.0.0.1"), total_seconds=5))
    yield runtime
    await runtime.close()


@pytest.fixture
def bench(runtime: Runtime) -> Bench:
    return Bench(runtime)


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    """A real HTTP server on 127.0.0.1."""
    web = Web()
    await web.start()
    yield web
    await web.close()

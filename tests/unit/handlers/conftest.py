"""Threads for handlers that are no coroutines."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many as these tests need at once."""
    with ThreadPoolExecutor(4) as pool:
        yield pool

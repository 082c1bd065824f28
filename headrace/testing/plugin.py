"""The pytest plug-in: the fixture `headrace`. It imports Headrace only when a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.testing.headrace import Headrace
    from headrace.testing.installation import TestedInstallation


@pytest.fixture(scope="session")
def _headrace_installation() -> Iterator[TestedInstallation]:
    """What the tests of this process share; pytest-xdist's processes have one each."""
    from headrace.testing.installation import TestedInstallation

    installation = TestedInstallation()
    yield installation
    installation.close()


@pytest.fixture
def headrace(
    _headrace_installation: TestedInstallation, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Headrace]:
    """A Headrace of this test's own: an empty queue, and a worker that runs when it is told to.

    The code under test finds it, too, as in `Client()`: HEADRACE_URL and REDIS_URL are set.
    """
    from headrace.testing.headrace import Headrace

    for name, value in _headrace_installation.environment.items():
        monkeypatch.setenv(name, value)
    _headrace_installation.empty()
    with Headrace(_headrace_installation) as opened:
        yield opened

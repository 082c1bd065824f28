"""The clock of tests is in the scripts for these tests only, and not for all of the process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.testing.installation import TestedInstallation


@pytest.fixture(scope="module")
def _headrace_installation() -> Iterator[TestedInstallation]:
    installation = TestedInstallation()
    yield installation
    installation.close()

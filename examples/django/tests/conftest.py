"""Sets Django up before the tests are imported. pytest-django does it by itself."""

from __future__ import annotations

import django


def pytest_configure() -> None:
    """Called by pytest at its start."""
    django.setup()

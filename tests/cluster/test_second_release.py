"""A second release in a namespace: what Helm says to it, and in which order it is to be done."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import CommandFailed, Object
from tests.cluster.release import CHART, NAME, Release

SECOND = "second"
KEY = "second-headrace-controller-key"


def dry_run(release: Release, values: Object) -> str:
    """What an install beside the release would print. Raises CommandFailed when it is refused."""
    return release.helm("install", SECOND, str(CHART), "--dry-run=server", values=values)


def test_a_second_operator_is_refused_with_what_to_do_first(shared: Release) -> None:
    with pytest.raises(CommandFailed) as refused:
        dry_run(shared, {})
    said = refused.value.said
    first = f"first upgrade {NAME} with {KEY} added to its controller.secretNames, then set"
    assert f"{first} controller.enabled=false here" in said


def test_a_second_release_without_one_is_taken(shared: Release) -> None:
    said = dry_run(shared, {"controller": {"enabled": False}})
    assert f"is installed as {SECOND}" in said
    assert f"name: {KEY}" in said


def test_the_notes_of_a_success_speak_of_no_failure(shared: Release) -> None:
    notes = shared.helm("get", "notes", NAME)
    assert "Reach the API" in notes
    assert "ImagePullBackOff" not in notes

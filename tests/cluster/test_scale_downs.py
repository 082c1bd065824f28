"""Workers are taken away under load: no task is interrupted, and nobody at work is told to end."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.cluster.measure_operator import Wave, installed, scale_down_under_load

SCALE_DOWNS = 10
AT_WORK = 8
"""At least in so many of them."""


@pytest.fixture(scope="module")
def wave(cluster: Cluster, images: Images, counted: list[str]) -> Wave:
    """The load, once."""
    with installed(cluster, images) as release:
        wave = scale_down_under_load(release, SCALE_DOWNS)
    counted.append(str(wave))
    return wave


def test_there_were_scale_downs_while_workers_were_at_work(wave: Wave) -> None:
    assert len(wave.downs) >= SCALE_DOWNS
    assert wave.busy >= AT_WORK, wave.table()
    assert wave.ended >= SCALE_DOWNS, wave.table()


def test_nobody_at_work_was_told_to_end(wave: Wave) -> None:
    assert wave.ended_busy == 0, wave.table()


def test_no_task_was_interrupted(wave: Wave) -> None:
    assert {record["status"] for record in wave.records} == {"completed"}
    assert wave.interrupted == 0


def test_the_size_stayed_within_its_bounds(wave: Wave) -> None:
    assert max(wave.sizes) <= 8

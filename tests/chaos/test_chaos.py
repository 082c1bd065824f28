"""Tens of thousands of tasks while workers die and stop, Redis dies, and connections are cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.taskqueue import MAX_CRASHES
from tests.chaos.driver import SLOTS, TYPES, Chaos, Fault, Plan, Report
from tests.chaos.processes import site
from tests.conftest import ServerFactory
from tests.keyspace import indexed, unexpected_keys
from tests.servers import RedisServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

SEEDS = [int(os.environ["HEADRACE_SEED"])] if "HEADRACE_SEED" in os.environ else [1, 2, 3]
"""HEADRACE_SEED=7 runs that seed alone."""

LONGEST_STALL_SECONDS = 15.0


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_when_redis_syncs_every_write(
    seed: int, tmp_path: Path, new_server: ServerFactory
) -> None:
    server = new_server(appendfsync="always")
    with site(tmp_path, server) as here:
        report = await Chaos(here, Plan(seed)).run()
        print(f"\nappendfsync always, {report}")
        assert report.lost == []
        assert report.wrong_results == []
        assert report.acknowledged == Plan(seed).tasks
        assert_totals_are_exact(report)
        assert_crashes_are_explained(report)
        assert report.longest_stall_seconds < LONGEST_STALL_SECONDS
        assert_nothing_is_left_behind(server)


async def test_no_outage_is_taken_for_a_crash(tmp_path: Path, new_server: ServerFactory) -> None:
    """Redis dies and connections are cut, and no worker does: each task runs once."""
    server = new_server(appendfsync="always")
    faults = frozenset({Fault.RESTART, Fault.CUT})
    plan = Plan(SEEDS[0], tasks=10_000, lease_seconds=6.0, faults=faults)
    with site(tmp_path, server) as here:
        report = await Chaos(here, plan).run()
        print(f"\nappendfsync always, no worker touched, {report}")
        assert (report.lost, report.excused, report.wrong_results) == ([], [], [])
        assert (report.crashes, report.begun_again) == (0, 0)
        assert_totals_are_exact(report)
        assert_nothing_is_left_behind(server)


async def test_what_a_power_cut_takes_when_redis_syncs_once_a_second(
    tmp_path: Path, new_server: ServerFactory
) -> None:
    # A rewritten append-only file could not be cut short to what it was a second ago.
    server = new_server(appendfsync="everysec", auto_aof_rewrite_percentage=0)
    with site(tmp_path, server) as here:
        report = await Chaos(here, Plan(SEEDS[0], tasks=10_000, power_cut=True)).run()
        print(f"\nappendfsync everysec, a second lost with each kill of Redis, {report}")
        assert report.completed > 0
        assert report.stuck == []
        assert report.wrong_results == []
        assert_nothing_is_left_behind(server)


def assert_totals_are_exact(report: Report) -> None:
    """Each task arrived once and ended once, however often it was sent or run."""
    totals = report.totals.values()
    assert sum(queue.arrivals_total for queue in totals) == report.acknowledged
    assert sum(queue.completions_total for queue in totals) == report.completed
    assert sum(queue.failures_total for queue in totals) == len(report.excused)
    assert sum(queue.queue_length_retries for queue in totals) == 0


def assert_crashes_are_explained(report: Report) -> None:
    """Leases end when their worker is killed or stopped, and not because Redis is away.

    Such a worker holds a lease for each of its slots, and perhaps as many again for what has ended
    and is not reported yet.
    """
    ended = report.faults[Fault.KILL] + report.faults[Fault.STOP]
    assert report.crashes <= ended * 2 * SLOTS
    assert all(task.crash_count == MAX_CRASHES + 1 for task in report.excused)


def assert_nothing_is_left_behind(server: RedisServer) -> None:
    assert indexed(server) == []
    assert unexpected_keys(server) == []
    counts = [server.client.hgetall(f"{{headrace}}:counts:{name}") for name in TYPES]
    assert [int(count.get(b"tombstones", 0)) for count in counts] == [0] * len(TYPES)

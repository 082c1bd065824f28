"""Redis's pod is killed under load, again and again: what was acknowledged is done."""

from __future__ import annotations

import time

from tests.cluster.cluster import Images, Object, eventually
from tests.cluster.driving import PodLoad, all_ended, interrupted
from tests.cluster.release import Api, Release, ready, restarts, uids

KILLS = 3
QUIET_SECONDS = 5.0
"""Of undisturbed load before each kill."""
BACK_SECONDS = 60.0
PATIENCE_SECONDS = 10.0
"""Every request is answered within, also by a refusal."""


def test_a_killed_redis_loses_nothing_and_everybody_recovers(
    busy: Release, images: Images, counted: list[str]
) -> None:
    others = _others(busy)
    options = ("--rate", "40", "--mix", "nap=4,hello=2,read=3,stats=1", "--nap-seconds", "0.1", "3")
    load = PodLoad(busy.cluster, busy.namespace, images.api, *options)
    with busy.api() as api:
        for _ in range(KILLS):
            time.sleep(QUIET_SECONDS)
            _kill_redis(busy, api)
        time.sleep(QUIET_SECONDS)
        report = load.stop()
        counted.append(f"Redis killed {KILLS} times: {report}")

        assert report.unanswered == []
        assert report.count(200, 202, 503) == report.requests, report.answers
        assert report.slowest_seconds < PATIENCE_SECONDS
        assert len(report.acknowledged) > 100
        assert report.longest_pause() < BACK_SECONDS
        records = all_ended(api, list(report.acknowledged))
    counted.append(f"  {len(records)} of them have ended, {len(interrupted(records))} interrupted")
    assert len(records) == len(report.acknowledged)
    # An outage of Redis is not a crash: each task ran once, without a break.
    assert interrupted(records) == []
    after = _others(busy)
    assert uids(after) == uids(others)
    assert set(restarts(after).values()) == {0}


def _others(busy: Release) -> list[Object]:
    return busy.pods("api") + busy.pods("worker") + busy.pods("controller")


def _kill_redis(busy: Release, api: Api) -> None:
    """And wait until it is ready again and a task is acknowledged."""
    [before] = busy.pods("redis")
    busy.kubectl("delete", "pod", before["metadata"]["name"], "--force", "--grace-period=0")

    def back() -> bool:
        pods = busy.pods("redis")
        return (
            uids(pods).isdisjoint(uids([before])) and all(ready(pod) for pod in pods) and pods != []
        )

    eventually(back, "Redis is back", BACK_SECONDS)

    def takes_tasks() -> bool:
        reply = api.client.post("/api/tasks/nap", json={"payload": {"seconds": 0}})
        return reply.status_code == 202

    eventually(takes_tasks, "tasks are acknowledged again", BACK_SECONDS)

"""What is not known shrinks nothing: API, Redis and stats go away in every way, and come back.

First an endpoint that stands in for the stats misbehaves in every way at once. Then the real ones
go, one after the other, while all workers run tasks that outlast it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.cluster.cluster import POLL_SECONDS, Cluster, Images, Object, eventually
from tests.cluster.driving import interrupted, types_configmap, types_values
from tests.cluster.operating import Operator, Pool, autoscaling, needs_tool
from tests.cluster.recording import Ends, Sizes
from tests.cluster.release import NAME, Release, merged, ready, small, uids
from tests.cluster.unscheduled_pools import FakeStats, UnscheduledPool

QUICK = {"stabilizationSeconds": 3, "cooldownSeconds": 3}
TOLD_SECONDS = 10.0
"""Within which StatsAvailable is False."""
HELD_SECONDS = 7.0
"""Longer than window and cooldown together."""
BACK_SECONDS = 30.0
GRACE_SECONDS = 3
"""So short that whoever is told to end at work is interrupted."""
WORKERS = 3
NAP_SECONDS = 65.0
"""Longer than all outages take."""
MODES = {
    "garbage": "StatsInvalid",
    "missing": "StatsInvalid",
    "hanging": "StatsUnavailable",
    "dripping": "StatsUnavailable",
    "unavailable": "StatsUnavailable",
    "refusing": "StatsUnavailable",
    "disabled": "StatsDisabled",
    "old": "StatsStale",
    "still": "StatsStale",
}
"""How the fake stats misbehave, and what reason is given for it."""
SPECS = {"still": {"stabilizationSeconds": 6, "cooldownSeconds": 6}}
"""Of these pools. A time that stands still was new once, and is believed for 5 s."""
FALLBACKS = {"raised": 6, "kept": 2}
"""`fallbackReplicas` of two more pools, whose stats are unavailable."""
BEFORE, AFTER = 4, 2
"""The tasks that wait, one for each worker."""


@pytest.fixture(scope="module")
def release(cluster: Cluster, images: Images) -> Iterator[Release]:
    """Its Redis forgets everything when its pod goes."""
    with cluster.namespace("outages") as namespace:
        cluster.apply(namespace, types_configmap())
        release = Release(cluster, namespace)
        own = {
            "workerDefaults": {"concurrency": 1, "gracePeriodSeconds": GRACE_SECONDS},
            "redis": {"persistence": {"enabled": False}},
        }
        release.install(merged(small(images), types_values(), own, autoscaling(**QUICK)))
        yield release


@dataclass
class Story:
    """What became of the pools whose stats misbehaved, by their names."""

    pools: dict[str, UnscheduledPool]
    told_after: dict[str, float] = field(default_factory=dict)
    """In how many seconds StatsAvailable was False."""
    sizes: dict[str, set[int]] = field(default_factory=dict)
    """All that were seen meanwhile."""
    conditions: dict[str, Object] = field(default_factory=dict)
    """StatsAvailable at the end of the outage."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Of the decisions, likewise."""
    available: dict[str, float | None] = field(default_factory=dict)
    """The metric, likewise."""
    events: dict[str, list[str]] = field(default_factory=dict)
    """Of the outage and its end."""


@pytest.fixture(scope="module")
def story(release: Release, images: Images) -> Story:
    """All modes at once."""
    fake_stats = FakeStats(release.cluster, release.namespace, images.api)
    names = [*MODES, *FALLBACKS]
    fake_stats.queued(BEFORE, *names)
    story = Story({})
    for name in names:
        spec = {"fallbackReplicas": FALLBACKS[name]} if name in FALLBACKS else SPECS.get(name, {})
        story.pools[name] = UnscheduledPool(release, fake_stats, images.api, name, **spec)
    _await_sizes(release, dict.fromkeys(names, BEFORE))
    before = {name: len(_event_reasons(pool)) for name, pool in story.pools.items()}

    # What they say besides is that there is no work.
    broken = {name: {"mode": name, "queued": {"nap": 0}} for name in MODES}
    away = {name: {"mode": "unavailable"} for name in FALLBACKS}
    fake_stats.change(**broken, **away)
    _watch(release, story)
    operator = Operator(release)
    for name, pool in story.pools.items():
        story.conditions[name] = pool.condition("StatsAvailable")
        story.reasons[name] = pool.reason()
        metric = "headrace_operator_stats_available"
        story.available[name] = operator.metric(metric, name=name, namespace=release.namespace)

    fake_stats.queued(AFTER, *names)
    _await_sizes(release, dict.fromkeys(names, AFTER))
    for name, pool in story.pools.items():
        pool.await_condition("StatsAvailable")
        assert pool.holds("Ready")
        story.events[name] = _event_reasons(pool)[before[name] :]
    return story


def _event_reasons(pool: Pool) -> list[str]:
    """By events, of outages."""
    return [str(event["reason"]) for event in pool.events("StatsLost", "StatsBack")]


def _await_sizes(release: Release, wanted: dict[str, int]) -> None:
    def look() -> bool:
        sizes = _sizes(release)
        return wanted == {name: sizes.get(name) for name in wanted}

    eventually(look, f"the sizes are {wanted}", BACK_SECONDS)


def _sizes(release: Release) -> dict[str, int]:
    found = release.cluster.list(release.namespace, "deployments")
    return {
        deployment["metadata"]["name"]: int(deployment["spec"]["replicas"]) for deployment in found
    }


def _watch(release: Release, story: Story) -> None:
    """Look until all have told, or had the time to, and then whether the sizes are held."""
    began = time.monotonic()
    story.sizes = {name: set() for name in story.pools}
    all_told = None
    while (passed := time.monotonic() - began) < (all_told or TOLD_SECONDS) + HELD_SECONDS:
        for name, size in _sizes(release).items():
            if name in story.sizes:
                story.sizes[name].add(size)
        for autoscaler in release.cluster.list(release.namespace, "workerautoscalers"):
            conditions = {
                found["type"]: found["status"] for found in autoscaler["status"]["conditions"]
            }
            if conditions["StatsAvailable"] == "False":
                story.told_after.setdefault(autoscaler["metadata"]["name"], passed)
        if all_told is None and story.told_after.keys() >= story.pools.keys():
            all_told = passed
        time.sleep(POLL_SECONDS)


@pytest.mark.parametrize("mode", MODES)
class TestStatsThatMisbehave:
    """One pool for each way."""

    def test_hold_the_size(self, story: Story, mode: str) -> None:
        assert story.sizes[mode] == {BEFORE}

    def test_are_told_of_within_seconds_and_why(self, story: Story, mode: str) -> None:
        assert story.told_after.get(mode, math.inf) < TOLD_SECONDS
        condition = story.conditions[mode]
        assert (condition["status"], condition["reason"]) == ("False", MODES[mode])
        assert condition["message"]
        assert story.reasons[mode] == MODES[mode]
        assert story.available[mode] == 0

    def test_are_told_of_once(self, story: Story, mode: str) -> None:
        assert story.events[mode] == ["StatsLost", "StatsBack"]


def test_a_fallback_raises_the_size_and_never_lowers_it(story: Story) -> None:
    assert story.sizes["raised"] == {BEFORE, FALLBACKS["raised"]}
    assert story.sizes["kept"] == {BEFORE}


@dataclass
class AtWork:
    """A pool all of whose workers run long tasks."""

    release: Release
    pool: Pool
    ids: list[str]
    until: float
    """When the tasks end."""
    sizes: Sizes
    ends: Ends
    pods: set[str]

    def is_untouched(self) -> None:
        """The pods are those of before, at work, and nothing else was ever written."""
        assert time.monotonic() < self.until, "the outages took longer than the tasks"
        assert [size.replicas for size in self.sizes.all()] == [WORKERS]
        assert self.ends.all() == {}
        assert uids(self.pool.pods()) == self.pods

    def all_run(self) -> None:
        """Wait until the stats show all tasks on their workers again."""

        def look() -> bool:
            with self.release.api() as api:
                reply = api.client.get("/api/workflows/queue/stats")
            workers = reply.json().get("workers", []) if reply.status_code == 200 else []
            return bool(sum(worker["busy_slots"] for worker in workers) == WORKERS)

        eventually(look, f"{WORKERS} tasks run", BACK_SECONDS)

    def lost(self, outage: str) -> None:
        """Wait until the operator tells of the outage, in time; look that it holds the size."""
        began = time.monotonic()
        self.pool.await_condition("StatsAvailable", "False", "StatsUnavailable", TOLD_SECONDS)
        time.sleep(HELD_SECONDS - min(HELD_SECONDS, time.monotonic() - began))
        assert self.pool.holds("StatsAvailable", "False", "StatsUnavailable"), outage
        self.is_untouched()

    def back(self) -> None:
        """Wait until the outage is over."""
        self.pool.await_condition("StatsAvailable", seconds=BACK_SECONDS)
        self.all_run()
        self.is_untouched()


@pytest.fixture(scope="module")
def at_work(release: Release) -> Iterator[AtWork]:
    """From the first outage to the last."""
    pool = Pool(release)
    pool.await_condition("StatsAvailable")
    with release.api() as api:
        ids = [api.submit("nap", {"seconds": NAP_SECONDS}) for _ in range(WORKERS)]
    until = time.monotonic() + NAP_SECONDS
    pool.await_size(WORKERS)
    eventually(lambda: [ready(pod) for pod in pool.pods()] == [True] * WORKERS, "workers run")
    with pool.sizes() as sizes, pool.ends() as ends:
        at_work = AtWork(release, pool, ids, until, sizes, ends, uids(pool.pods()))
        at_work.all_run()
        yield at_work


@pytest.fixture
def outages(at_work: AtWork) -> Iterator[None]:
    """Each is told by one event when it begins and one when it is over."""
    before = len(_event_reasons(at_work.pool))
    yield
    assert _event_reasons(at_work.pool)[before:] == ["StatsLost", "StatsBack"]


@pytest.mark.usefixtures("outages")
def test_without_the_api_nothing_is_taken_away(at_work: AtWork) -> None:
    scale = ("scale", "deployment", f"{NAME}-api", "--replicas")
    at_work.release.kubectl(*scale, "0")
    at_work.lost("the API is away")
    at_work.release.kubectl(*scale, "1")
    eventually(lambda: any(ready(pod) for pod in at_work.release.pods("api")), "the API is back")
    at_work.back()


@pytest.mark.usefixtures("outages")
def test_a_redis_that_hangs_is_told_within_seconds(cluster: Cluster, at_work: AtWork) -> None:
    needs_tool(cluster, "cut a pod off so that its connections hang")
    [redis] = at_work.release.pods("redis")
    address = redis["status"]["podIP"]
    cluster.use_tool("cut", address)
    try:
        at_work.lost("Redis hangs")
    finally:
        cluster.use_tool("heal", address)
    at_work.back()


@pytest.mark.usefixtures("outages")
def test_a_redis_that_has_forgotten_all_takes_no_busy_worker_away(at_work: AtWork) -> None:
    scale = ("scale", "statefulset", f"{NAME}-redis", "--replicas")
    at_work.release.kubectl(*scale, "0")
    at_work.lost("Redis is away")
    at_work.release.kubectl(*scale, "1")
    at_work.back()


def test_all_of_it_interrupts_no_task_and_the_workers_go_afterwards(at_work: AtWork) -> None:
    with at_work.release.api() as api:
        records = [api.ended(id, NAP_SECONDS + BACK_SECONDS) for id in at_work.ids]
    assert interrupted(records) == []
    at_work.pool.await_size(0, BACK_SECONDS)
    assert Operator(at_work.release).restarts() == 0

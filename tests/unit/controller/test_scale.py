"""What is written to Kubernetes, in which order, and what is not."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest

from controller import kube
from controller.decide import ACKNOWLEDGED_COST
from controller.kube import Json, KubeError
from controller.model import Decision, Reason
from controller.observe import Size
from controller.scale import (
    Cost,
    NotLeading,
    Scaled,
    Scaler,
    Waits,
    differing,
    label_selector,
    newest_costs,
)
from tests.unit.controller.fakes import NAMESPACE, FakeKube, deployment, pod

SCALE = kube.scale(NAMESPACE, "workers")


def decision(written: int, costs: dict[str, int] | None = None) -> Decision:
    return Decision(
        target=written,
        written=written,
        wanted=written,
        act=True,
        reason=Reason.DRAIN_TIME,
        message="",
        stats_available=True,
        deletion_costs=costs or {},
    )


PODS = [pod(f"p{number}") for number in range(3)]
COSTS = {"p0": ACKNOWLEDGED_COST, "p1": 2, "p2": 1}


class Target:
    """A Deployment of three pods, and what writes to it."""

    def __init__(self, found: Json | None = None) -> None:
        self.seen = found or deployment(3)
        self.pods = list(PODS)
        self.kube = FakeKube(self.seen, PODS)
        self.leads = True
        self.scaler = Scaler(self.kube, lambda: self.leads)

    async def resize(self, size: int, *, seen: int = 3) -> Scaled | Waits | None:
        costs = COSTS if size < seen else {}
        return await self.scaler.resize(self.seen, self.pods, seen, decision(size, costs))


async def test_a_larger_size_is_written_alone() -> None:
    target = Target()
    assert await target.resize(5) == Scaled(3, 5)
    assert [path for path, _ in target.kube.writes] == [SCALE]
    assert target.kube.deployment["spec"]["replicas"] == 5


async def test_the_same_size_is_not_written() -> None:
    target = Target()
    assert await target.resize(3) is None
    assert target.kube.writes == []


async def test_a_smaller_size_is_written_after_the_costs_of_all_pods() -> None:
    target = Target()
    assert await target.resize(2) == Scaled(3, 2)
    assert [path for path, _ in target.kube.writes][-1] == SCALE
    assert target.kube.costs == {"p0": "-1000", "p1": "2", "p2": "1"}
    assert target.kube.sizes == [2]


async def test_a_cost_that_cannot_be_written_keeps_the_size() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(500, "x") if path.endswith("p1") else None
    with pytest.raises(KubeError):
        await target.resize(2)
    assert target.kube.sizes == []


async def test_a_pod_that_is_gone_needs_no_cost() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(404, "x") if path.endswith("p1") else None
    assert await target.resize(2) == Scaled(3, 2)


async def test_a_size_that_somebody_else_has_set_meanwhile_is_not_overruled() -> None:
    for size in (2, 5):
        target = Target()
        target.kube.deployment = deployment(8, 2)
        assert isinstance(await target.resize(size), Waits)
        assert target.kube.sizes == []
        assert target.scaler.size == Size(8, 2)


async def test_a_change_at_the_same_moment_is_left_for_the_next_round() -> None:
    for size in (2, 5):
        target = Target()
        target.kube.refuse = lambda path: KubeError(409, "x") if path == SCALE else None
        assert isinstance(await target.resize(size), Waits)
        assert target.kube.sizes == []


async def test_a_write_that_fails_is_told_and_the_size_stays_as_it_was() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(0, "x") if path == SCALE else None
    with pytest.raises(KubeError):
        await target.resize(5)
    assert target.scaler.size == Size(3, 1)


async def test_a_rollout_that_begins_meanwhile_keeps_a_smaller_size_from_being_written() -> None:
    begun = deployment(3, 2, replicas=4, updatedReplicas=1)
    not_looked_at = deployment(3, 2)
    not_looked_at["metadata"]["generation"] = 2
    for found in (begun, not_looked_at):
        target = Target()
        target.kube.deployment = found
        assert isinstance(await target.resize(2), Waits)
        assert target.kube.sizes == []
        assert await target.resize(5) == Scaled(3, 5)


async def test_nothing_is_asked_for_a_smaller_size_in_a_rollout() -> None:
    target = Target(deployment(3, 2, replicas=4, updatedReplicas=1))
    assert isinstance(await target.resize(2), Waits)
    assert target.kube.writes == []


async def test_nothing_is_written_after_the_lead_was_lost() -> None:
    for size in (2, 5):
        target = Target()
        target.leads = False
        with pytest.raises(NotLeading):
            await target.resize(size)
        assert target.kube.writes == []


async def test_the_lead_is_asked_for_before_each_write() -> None:
    target = Target()
    answers = itertools.chain([True, True, True], itertools.repeat(False))
    target.scaler.may_write = lambda: next(answers)
    with pytest.raises(NotLeading):
        await target.resize(2)
    assert len(target.kube.costs) == 3
    assert target.kube.sizes == []


async def test_what_was_written_is_the_size_until_the_watch_shows_it() -> None:
    target = Target()
    await target.resize(5)
    assert target.scaler.size == Size.of(target.kube.deployment)


def test_only_costs_that_differ_are_written() -> None:
    costs = {"a": Cost("1", 5), "b": Cost("2", 5), "c": Cost(None, 5)}
    assert differing({"a": 1, "b": 1, "c": 0, "d": 1}, costs) == {"b": "1", "c": "0", "d": "1"}


def test_a_watch_that_lags_does_not_hide_what_was_written() -> None:
    written = {"a": Cost("-1000", 6), "gone": Cost("1", 6)}
    assert newest_costs({"a": Cost("1", 5)}, written) == {"a": Cost("-1000", 6)}
    assert newest_costs({"a": Cost("1", 7)}, written) == {"a": Cost("1", 7)}


async def test_costs_are_written_again_when_they_go_back_before_the_watch_shows_them() -> None:
    target = Target()
    await target.resize(2)
    target.kube.deployment = deployment(3, 200)
    back = {"p0": 1, "p1": ACKNOWLEDGED_COST, "p2": 1}
    await target.scaler.resize(deployment(3, 200), PODS, 3, decision(2, back))
    assert target.kube.costs == {"p0": "1", "p1": "-1000", "p2": "1"}


async def test_pods_are_listed_once_before_a_smaller_size_and_for_no_other() -> None:
    target = Target()
    await target.resize(3)
    await target.resize(5)
    assert target.kube.lists == []
    target = Target()
    await target.resize(2)
    assert target.kube.lists == [(kube.pods(NAMESPACE), "app=workers")]


async def test_a_pod_that_the_watch_does_not_know_keeps_the_size() -> None:
    target = Target()
    target.kube.pods["new"] = pod("new")
    assert isinstance(await target.resize(2), Waits)
    assert target.kube.sizes == []
    assert await target.resize(5) == Scaled(3, 5)


async def test_a_pod_that_has_gone_or_was_made_anew_keeps_the_size() -> None:
    for pods in ({"p0": pod("p0"), "p1": pod("p1")}, {"p1": pod("p1", uid="another")}):
        target = Target()
        target.kube.pods = {**target.kube.pods, **pods}
        if len(pods) > 1:
            del target.kube.pods["p2"]
        assert isinstance(await target.resize(2), Waits)
        assert target.kube.sizes == []


async def test_pods_that_are_not_counted_do_not_keep_the_size() -> None:
    target = Target()
    ended = pod("ended")
    ended["status"]["phase"] = "Failed"
    leaving = pod("leaving", deletionTimestamp="2027-01-15T08:00:00Z")
    target.pods += [ended, pod("leaving")]
    target.kube.pods |= {
        "ended": ended,
        "other": pod("other", labels={"app": "another"}),
        "by hand": pod("by hand", ownerReferences=[]),
    }
    # Of one that goes the list may know more than the watch: decide again.
    target.kube.pods["leaving"] = leaving
    assert isinstance(await target.resize(2), Waits)
    target.pods[-1] = leaving
    assert await target.resize(2) == Scaled(3, 2)


class Slow(FakeKube):
    """Refuses the last pod at once, and takes its time for the others."""

    async def merge(self, path: str, body: Json) -> Json:
        if path.endswith("p2"):
            raise KubeError(500, "x")
        await asyncio.sleep(0.01)
        return await super().merge(path, body)


async def test_costs_that_are_under_way_end_before_a_failure_is_told() -> None:
    target = Target()
    target.scaler.kube = slow = Slow(target.seen, PODS)
    with pytest.raises(KubeError):
        await target.resize(2)
    before = len(slow.writes)
    await asyncio.sleep(0.05)
    assert len(slow.writes) == before == 2


async def test_after_a_cost_that_failed_no_other_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.scale.AT_ONCE", 1)
    target = Target()
    target.kube.refuse = lambda path: KubeError(500, "x") if path.endswith("p0") else None
    with pytest.raises(KubeError):
        await target.resize(2)
    assert target.kube.writes == []


@pytest.mark.parametrize("status", [0, 504])
async def test_a_size_whose_answer_was_lost_counts_once_it_is_seen(status: int) -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(status, "x") if path == SCALE else None
    with pytest.raises(KubeError):
        await target.resize(5)
    target.kube.refuse = lambda path: None
    target.kube.deployment = deployment(5, 2)
    # As the watch shows it late, and at once.
    late = replace(target.scaler)
    assert await late.resize(target.seen, PODS, 3, decision(5)) == Scaled(3, 5)
    assert await late.resize(target.seen, PODS, 5, decision(5)) is None
    assert await target.resize(7, seen=5) == Scaled(3, 5)
    assert await target.resize(7, seen=5) == Scaled(5, 7)


async def test_a_size_that_was_refused_and_that_somebody_else_sets_is_not_ours() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(403, "x") if path == SCALE else None
    with pytest.raises(KubeError):
        await target.resize(5)
    assert await target.resize(5, seen=5) is None
    target.kube.refuse = lambda path: KubeError(0, "x") if path == SCALE else None
    with pytest.raises(KubeError):
        await target.resize(5)
    # Nobody wants it any more.
    assert await target.resize(3) is None
    assert await target.resize(5, seen=5) is None


LOWEST = {"controller.kubernetes.io/pod-deletion-cost": "-1000"}


async def test_the_lowest_cost_is_taken_from_pods_that_work_again_once() -> None:
    target = Target()
    pods = [pod("p0", annotations=LOWEST), pod("p1", annotations=LOWEST), pod("p2")]
    for _ in range(2):
        await target.scaler.restore(NAMESPACE, pods, {"p0", "p2"})
    assert [path for path, _ in target.kube.writes] == [kube.pod(NAMESPACE, "p0")]
    assert target.kube.costs == {"p0": "1"}


async def test_a_cost_that_was_written_and_not_watched_yet_is_taken_back() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(403, "x") if path == SCALE else None
    with pytest.raises(KubeError):
        await target.resize(2)
    await target.scaler.restore(NAMESPACE, PODS, {"p0"})
    assert target.kube.costs["p0"] == "1"


async def test_costs_are_taken_back_by_the_leader_alone() -> None:
    target = Target()
    target.leads = False
    with pytest.raises(NotLeading):
        await target.scaler.restore(NAMESPACE, [pod("p0", annotations=LOWEST)], {"p0"})


def test_a_selector_is_written_as_a_query_has_it() -> None:
    selector = {
        "matchLabels": {"app": "workers", "pool": "a"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["x", "y"]},
            {"key": "zone", "operator": "NotIn", "values": ["z"]},
            {"key": "managed", "operator": "Exists"},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }
    expected = "app=workers,pool=a,tier in (x,y),zone notin (z),managed,!canary"
    assert label_selector(selector) == expected

"""What is written to Kubernetes, in which order, and what is not."""

from __future__ import annotations

import itertools

import pytest

from controller import kube
from controller.decide import ACKNOWLEDGED_COST
from controller.kube import Json, KubeError
from controller.model import Decision, Reason
from controller.observe import Size
from controller.scale import Cost, NotLeading, Scaler, differing

from .fakes import NAMESPACE, FakeKube, deployment, pod

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
        self.kube = FakeKube(self.seen, PODS)
        self.leads = True
        self.scaler = Scaler(self.kube, lambda: self.leads)

    async def resize(self, size: int, *, seen: int = 3) -> bool:
        costs = COSTS if size < seen else {}
        return await self.scaler.resize(self.seen, PODS, seen, decision(size, costs))


async def test_a_larger_size_is_written_alone() -> None:
    target = Target()
    assert await target.resize(5)
    assert [path for path, _ in target.kube.writes] == [SCALE]
    assert target.kube.deployment["spec"]["replicas"] == 5


async def test_the_same_size_is_not_written() -> None:
    target = Target()
    assert not await target.resize(3)
    assert target.kube.writes == []


async def test_a_smaller_size_is_written_after_the_costs_of_all_pods() -> None:
    target = Target()
    assert await target.resize(2)
    assert [path for path, _ in target.kube.writes][-1] == SCALE
    assert target.kube.costs == {"p0": "-1000", "p1": "2", "p2": "1"}
    assert target.kube.sizes == [2]


async def test_a_cost_that_cannot_be_written_keeps_the_size() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(500, "x", "x") if path.endswith("p1") else None
    with pytest.raises(KubeError):
        await target.resize(2)
    assert target.kube.sizes == []


async def test_a_pod_that_is_gone_needs_no_cost() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(404, "x", "x") if path.endswith("p1") else None
    assert await target.resize(2)


async def test_a_size_that_somebody_else_has_set_meanwhile_is_not_overruled() -> None:
    for size in (2, 5):
        target = Target()
        target.kube.deployment = deployment(8, 2)
        assert not await target.resize(size)
        assert target.kube.sizes == []
        assert target.scaler.size == Size(8, 2)


async def test_a_change_at_the_same_moment_is_left_for_the_next_round() -> None:
    for size in (2, 5):
        target = Target()
        target.kube.refuse = lambda path: KubeError(409, "x", "x") if path == SCALE else None
        assert not await target.resize(size)
        assert target.kube.sizes == []


async def test_a_write_that_fails_is_told_and_the_size_stays_as_it_was() -> None:
    target = Target()
    target.kube.refuse = lambda path: KubeError(0, "Timeout", "x") if path == SCALE else None
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
        assert not await target.resize(2)
        assert target.kube.sizes == []
        assert await target.resize(5)


async def test_nothing_is_asked_for_a_smaller_size_in_a_rollout() -> None:
    target = Target(deployment(3, 2, replicas=4, updatedReplicas=1))
    assert not await target.resize(2)
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
    watched = {"a": Cost("1", 5), "b": Cost("2", 5), "c": Cost(None, 5)}
    assert differing({"a": 1, "b": 1, "c": 0, "d": 1}, watched, {}) == {
        "b": "1",
        "c": "0",
        "d": "1",
    }


def test_a_watch_that_lags_does_not_hide_what_was_written() -> None:
    assert differing({"a": 1}, {"a": Cost("1", 5)}, {"a": Cost("-1000", 6)}) == {"a": "1"}
    assert differing({"a": 1}, {"a": Cost("1", 7)}, {"a": Cost("-1000", 6)}) == {}


async def test_costs_are_written_again_when_they_go_back_before_the_watch_shows_them() -> None:
    target = Target()
    await target.resize(2)
    target.kube.deployment = deployment(3, 200)
    back = {"p0": 1, "p1": ACKNOWLEDGED_COST, "p2": 1}
    await target.scaler.resize(deployment(3, 200), PODS, 3, decision(2, back))
    assert target.kube.costs == {"p0": "1", "p1": "-1000", "p2": "1"}

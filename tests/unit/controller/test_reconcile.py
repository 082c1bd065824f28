"""Rounds of one resource: what is done, told, and left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller import kube
from controller.api import ApiError
from controller.kube import KubeError
from controller.loop import Loop
from controller.model import Queue
from controller.reconcile import Resource
from tests.unit.controller.fakes import NAMESPACE, Clock, autoscaler, deployment, watching
from tests.unit.controller.scenes import AWAY
from tests.unit.controller.world import SCALE, STATUS, World, rounds


async def test_nothing_is_done_before_a_poll_has_ended() -> None:
    world = World(3)
    await world.tick()
    assert world.kube.writes == []


async def test_work_gets_its_workers_in_the_round_that_sees_it() -> None:
    world = World(0)
    await world.second()
    world.queue = Queue(queue_length=50)
    await world.second()
    assert world.kube.sizes == [10]
    status = world.kube.status()
    assert (status["replicas"], status["desiredReplicas"], status["demand"]) == (10, 10, 50)
    assert status["lastScaleTime"] == "2027-01-15T08:00:02.000Z"
    [event] = world.kube.events
    assert event[0] == "ScaledUp"
    assert event[1].startswith("0 -> 10 workers: 50 tasks queued")


async def test_workers_are_marked_then_acknowledge_and_only_then_go() -> None:
    world = World(3)
    await world.second()
    assert (world.size, world.kube.status()["drainingReplicas"]) == (3, 3)
    assert world.kube.costs == {}
    await world.second()
    assert world.size == 0
    assert set(world.kube.costs.values()) == {"-1000"}
    assert [event for event, _ in world.kube.events] == ["ScaledDown"]


async def test_a_busy_worker_stays_until_it_has_finished() -> None:
    world = World(3, {"minReplicas": 1})
    world.busy[1] = 1
    world.busy[2] = 1
    world.queue = Queue(running=2)
    await world.second(5)
    assert world.size == 2
    assert world.kube.costs["p0"] == "-1000"


async def test_an_api_that_refuses_marks_shrinks_nothing_and_still_grows() -> None:
    world = World(3)
    world.api.error = ApiError(403, "its key must have the role operator")
    await world.second(3)
    assert world.size == 3
    assert world.kube.condition("Ready") == ("False", "DrainingFailed")
    assert [event for event, _ in world.kube.events] == ["DrainingFailed"]
    assert world.metric("errors_total")[0].endswith(
        '{kind="drain",name="workers",namespace="shop"} 3.0'
    )
    world.queue = Queue(queue_length=50)
    await world.second()
    assert world.size == 10


async def test_marks_that_can_not_be_renewed_any_more_shrink_nothing() -> None:
    world = World(3, {"minReplicas": 2})
    world.busy = dict.fromkeys(world.busy, 1)
    world.queue = Queue(running=3)
    await world.second(2)
    [drained] = world.marked
    world.api.error = ApiError(503, "HTTP 503")
    await world.second(25)
    world.busy[drained] = 0
    await world.second(20)
    world.api.error = None
    await world.second()
    assert world.kube.sizes == []
    await world.second()
    assert world.size == 2


async def test_a_new_operator_marks_everything_anew_and_relies_on_nobodys_marks() -> None:
    world = World(3)
    world.marked = {0, 1, 2}
    await world.second()
    assert world.size == 3
    assert sorted(world.api.calls) == [("drain", "w0"), ("drain", "w1"), ("drain", "w2")]
    await world.second()
    assert world.size == 0


async def test_demand_that_returns_undrains_before_it_grows() -> None:
    world = World(2)
    world.busy = dict.fromkeys(world.busy, 1)
    world.queue = Queue(running=2)
    await world.second(2)
    assert len(world.marked) == 1
    world.queue = Queue(queue_length=8, running=2)
    await world.second()
    assert [move for move, _ in world.api.taken()] == ["undrain"]
    assert world.kube.sizes == []


async def test_a_write_that_fails_is_told_once_and_tried_again() -> None:
    world = World(0)
    world.queue = Queue(queue_length=50)
    world.kube.refuse = lambda path: KubeError(403, "forbidden") if path == SCALE else None
    await world.second(3)
    assert world.kube.condition("Ready") == ("False", "ScalingFailed")
    assert [event for event, _ in world.kube.events] == ["ScalingFailed"]
    assert [message for _, message in world.kube.events] == ["forbidden"]
    world.kube.refuse = lambda path: None
    await world.second()
    assert world.size == 10
    assert world.kube.condition("Ready") == ("True", "Ready")


async def test_a_conflict_is_left_for_the_next_round_without_a_word() -> None:
    world = World(0)
    world.queue = Queue(queue_length=50)
    world.kube.refuse = lambda path: KubeError(409, "x") if path == SCALE else None
    await world.second()
    assert world.kube.condition("Ready") == ("True", "Ready")
    world.kube.refuse = lambda path: None
    await world.second()
    assert world.size == 10


async def test_history_outlives_everything_that_fails() -> None:
    world = World(3, {"stabilizationSeconds": 60, "minReplicas": 1})
    await world.second(30)
    world.kube.refuse = lambda path: KubeError(0, "no answer")
    await world.second(29)
    world.kube.refuse = lambda path: None
    await world.second(3)
    assert world.size == 1


async def test_an_own_write_that_the_watch_shows_late_is_no_manual_scale() -> None:
    world = World(0)
    world.queue = Queue(queue_length=50)
    await world.second()
    for _ in range(3):
        world.read()
        await world.tick()
    assert world.kube.sizes == [10]
    assert world.kube.status()["replicas"] == 10


async def test_a_size_that_somebody_sets_is_decided_from_for_a_window() -> None:
    world = World(1, {"stabilizationSeconds": 30, "minReplicas": 1})
    await world.second(40)
    world.kube.deployment = deployment(5, 50)
    await world.second(29)
    assert (world.size, world.kube.status()["replicas"]) == (5, 5)
    assert world.kube.events == []


async def test_after_a_gap_without_rounds_the_window_begins_again() -> None:
    # The longest round and a second of slack, and one that is longer.
    for gap, size in ((10, 1), (16, 3)):
        world = World(3, {"stabilizationSeconds": 30, "minReplicas": 1})
        await world.second(25)
        world.clock.now += gap
        await world.second(29)
        assert world.size == size
        await world.second(5)
        assert world.size == 1


@pytest.mark.parametrize("how", ["pause", "dry run", "HPA", "older resource"])
async def test_what_may_not_act_tells_and_writes_nothing_else(how: str) -> None:
    world = World(3, {"dryRun": how == "dry run"})
    if how == "pause":
        world.body["metadata"]["annotations"] = {"headrace.dev/paused": "true"}
    if how == "HPA":
        target = {"kind": "Deployment", "name": "workers", "apiVersion": "apps/v1"}
        world.hpas.append(
            {"metadata": {"name": "x", "uid": "x"}, "spec": {"scaleTargetRef": target}}
        )
    if how == "older resource":
        world.autoscalers.append(autoscaler("old", creationTimestamp="2020-01-01T00:00:00Z"))
    await world.second(3)
    assert world.api.calls == []
    assert {path for path, _ in world.kube.writes} <= {STATUS, kube.events(NAMESPACE)}
    assert world.kube.status()["desiredReplicas"] == 0


async def test_without_the_deployment_it_says_so_and_begins_anew_when_it_comes() -> None:
    world = World(3, {"stabilizationSeconds": 30, "minReplicas": 1})
    await world.second(25)
    world.deployments.clear()
    await world.second(2)
    assert world.kube.condition("Ready") == ("False", "TargetNotFound")
    assert world.kube.status()["replicas"] is None
    assert world.metric("replicas") == []
    world.deployments.append(world.kube.deployment)
    await world.second(20)
    assert (world.size, world.marked) == (3, set())
    assert world.kube.condition("Ready") == ("True", "Ready")


async def test_another_deployment_of_the_name_is_another_target() -> None:
    world = World(3, {"stabilizationSeconds": 30, "minReplicas": 1})
    await world.second(25)
    world.kube.deployment["metadata"]["uid"] = "uid-of-another"
    await world.second(20)
    assert (world.size, world.marked) == (3, set())


async def test_a_spec_that_cannot_be_used_is_told_and_nothing_is_scaled() -> None:
    world = World(3)
    world.body["spec"]["drainSeconds"] = 0
    await rounds(Loop(world.around))
    assert world.kube.condition("Ready") == ("False", "InvalidSpec")
    assert [event for event, _ in world.kube.events] == ["InvalidSpec"]
    assert world.kube.sizes == []


async def test_an_outage_is_told_and_holds_the_size() -> None:
    world = World(3)
    world.busy = dict.fromkeys(world.busy, 5)
    world.queue = Queue(running=15)
    await world.second()
    world.reader.latest = AWAY
    for _ in range(8):
        await world.tick()
    assert world.kube.condition("StatsAvailable") == ("False", "StatsUnavailable")
    assert world.kube.events == [("StatsLost", "StatsUnavailable: HTTP 503")]
    assert (world.kube.status()["demand"], world.size) == (None, 3)
    await world.second()
    assert [event for event, _ in world.kube.events] == ["StatsLost", "StatsBack"]


async def test_while_a_new_resources_api_starts_nobody_is_warned() -> None:
    world = World(0)
    world.reader.latest = AWAY
    for _ in range(55):
        await world.tick()
    assert world.kube.condition("StatsAvailable") == ("Unknown", "StatsUnavailable")
    assert world.kube.condition("Ready") == ("Unknown", "StatsUnavailable")
    await world.second(2)
    assert world.kube.condition("Ready") == ("True", "Ready")
    assert world.kube.events == []


async def test_while_a_new_resources_deployment_is_made_nobody_is_warned() -> None:
    world = World(0)
    made = world.deployments.pop()
    await world.second(4)
    assert world.kube.condition("Ready") == ("Unknown", "TargetNotFound")
    world.deployments.append(made)
    await world.second(2)
    assert world.kube.condition("Ready") == ("True", "Ready")
    assert world.kube.events == []


async def test_what_a_new_resource_still_lacks_after_a_while_is_told() -> None:
    world, alone = World(0), World(0)
    alone.deployments.clear()
    world.reader.latest = AWAY
    await alone.second(6)
    for _ in range(62):
        await world.tick()
    assert world.kube.condition("StatsAvailable") == ("False", "StatsUnavailable")
    assert [event for event, _ in world.kube.events] == ["StatsLost"]
    assert [event for event, _ in alone.kube.events] == ["TargetNotFound"]


async def test_a_quiet_resource_is_written_once_a_minute() -> None:
    world = World(1, {"minReplicas": 1})
    await world.second(121)
    assert len(world.kube.bodies(STATUS)) == 3
    assert world.kube.bodies(STATUS)[0]["metadata"] == {"uid": "uid-workers"}


async def test_a_status_that_could_not_be_written_loses_no_event() -> None:
    world = World(0)
    await world.second()
    world.kube.refuse = lambda path: KubeError(500, "x") if path == STATUS else None
    world.queue = Queue(queue_length=5)
    await world.second(2)
    assert world.kube.events == []
    world.kube.refuse = lambda path: None
    await world.second()
    assert [event for event, _ in world.kube.events] == ["ScaledUp"]
    assert world.kube.status()["lastScaleTime"] == "2027-01-15T08:00:02.000Z"


@pytest.mark.parametrize("status", [404, 409])
async def test_a_resource_that_was_deleted_just_now_is_no_error(status: int) -> None:
    world = World(0)
    world.kube.refuse = lambda path: KubeError(status, "x") if path == STATUS else None
    await world.second(2)
    assert world.metric("errors_total") == []


async def test_who_does_not_lead_does_nothing() -> None:
    world = World(3)
    world.leads = False
    await world.second(3)
    assert world.kube.writes == []
    assert world.api.calls == []


async def test_a_round_that_meets_a_defect_is_counted_and_the_next_one_goes_on() -> None:
    world = World(0)
    world.queue = Queue(queue_length=50)
    sound, world.pods = world.pods, [{"metadata": {}}]
    world.start()
    world.read()
    await world.tick()
    assert any('kind="round"' in line for line in world.metric("errors_total"))
    world.pods = sound
    world.watched.attach(watching(world.autoscalers, world.deployments, sound, [])._indices)
    await world.tick()
    assert world.size == 10


async def test_figures_of_a_round() -> None:
    world = World(3)
    world.queue = Queue(queue_length=50)
    await world.second()
    labels = '{name="workers",namespace="shop"}'
    assert world.metric("desired_replicas") == [f"{labels} 10.0"]
    assert world.metric("replicas") == [f"{labels} 10.0"]
    assert world.metric("demand") == [f"{labels} 50.0"]
    assert world.metric("stats_available") == [f"{labels} 1.0"]
    assert world.metric("stats_age_seconds") == [f"{labels} 0.0"]
    assert world.metric("decisions_total")[0].endswith(" 1.0")
    assert world.metric("service_seconds") == []
    assert world.metric("arrivals_per_second")[0].startswith(
        '{name="workers",namespace="shop",queue="tasks"}'
    )
    world.reader.latest = AWAY
    for _ in range(8):
        await world.tick()
    assert world.metric("demand") == []
    assert world.metric("stats_available") == [f"{labels} 0.0"]


@pytest.mark.parametrize("step", [-3600, 120])
async def test_a_wall_clock_that_is_set_does_not_move_the_window(step: int) -> None:
    world, monotonic = World(2, {"stabilizationSeconds": 60}), Clock(5.0)
    world.around = replace(world.around, monotonic=monotonic)
    world.resource = Resource(world.around, world.body)
    sizes = []
    for second in range(70):
        monotonic.now += 1
        world.clock.now += step if second == 30 else 0
        await world.second()
        sizes.append(world.size)
    assert (sizes[55], sizes[-1]) == (2, 0)

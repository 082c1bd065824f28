"""What a round does and tells when writes fail, get lost or wait, and when things come and go."""

from __future__ import annotations

from controller import kube
from controller.api import ApiError
from controller.kube import Json, KubeError
from controller.model import Queue
from tests.unit.controller.fakes import NAMESPACE, FakeKube, deployment, pod
from tests.unit.controller.world import SCALE, STATUS, World


def conflicts(path: str) -> KubeError | None:
    return KubeError(409, "x") if path == SCALE else None


async def test_a_size_that_cannot_be_written_for_ten_rounds_is_told() -> None:
    world = World(0)
    world.queue = Queue(queue_length=50)
    world.kube.refuse = conflicts
    await world.second(9)
    assert world.kube.condition("Ready") == ("True", "Ready")
    await world.second(20)
    assert world.kube.condition("Ready") == ("False", "ScalingDelayed")
    sentence = "a size of 10 was decided on, but it cannot be written: somebody else changes the"
    [(reason, note)] = world.kube.events
    assert (reason, note.startswith(sentence)) == ("ScalingDelayed", True)
    assert world.metric("errors_total")[0].startswith('{kind="scale"')
    world.kube.refuse = lambda path: None
    await world.second()
    assert world.size == 10
    assert world.kube.condition("Ready") == ("True", "Ready")


async def test_only_rounds_in_a_row_make_a_delay() -> None:
    world = World(0)
    for round_ in range(40):
        world.queue = Queue(queue_length=50) if round_ % 9 else Queue()
        world.kube.refuse = conflicts
        await world.second()
    assert world.kube.condition("Ready") == ("True", "Ready")


async def test_a_deployment_whose_controller_is_away_is_not_shrunk_and_told() -> None:
    world = World(3)
    world.kube.deployment["metadata"]["generation"] = 2
    await world.second(12)
    assert world.size == 3
    assert world.kube.condition("Ready") == ("False", "ScalingDelayed")
    assert "kube-controller-manager" in world.kube.events[0][1]


class Deaf(FakeKube):
    """Loses the answer of the first size that is written."""

    lost = False

    async def apply(self, path: str, body: Json) -> Json:
        answer = await super().apply(path, body)
        if not self.lost:
            self.lost = True
            raise KubeError(0, "no answer")
        return answer


async def test_a_size_whose_answer_was_lost_is_told_as_scaled() -> None:
    world = World(0)
    world.kube = Deaf(world.deployments[0], world.pods)
    world.start()
    await world.second()
    world.queue = Queue(queue_length=50)
    await world.second(2)
    assert world.kube.sizes == [10]
    assert [reason for reason, _ in world.kube.events] == ["ScalingFailed", "ScaledUp"]
    assert world.kube.events[1][1].startswith("0 -> 10 workers: 50 tasks")
    assert world.kube.status()["lastScaleTime"] == "2027-01-15T08:00:03.000Z"
    assert world.kube.condition("Ready") == ("True", "Ready")


async def test_a_size_whose_answer_was_lost_is_told_before_the_next_one() -> None:
    world = World(0, {"maxReplicas": 20})
    world.kube = Deaf(world.deployments[0], world.pods)
    world.start()
    world.queue = Queue(queue_length=50)
    await world.second()
    world.queue = Queue(queue_length=75)
    await world.second()
    assert world.kube.status()["replicas"] == 10
    await world.second()
    notes = [note.partition(" workers")[0] for _, note in world.kube.events]
    assert notes == ["no answer", "0 -> 10", "10 -> 15"]


async def test_a_pod_that_works_again_does_not_stay_the_first_to_go() -> None:
    world = World(2, {"minReplicas": 1})
    world.kube.refuse = conflicts
    await world.second(2)
    assert world.kube.costs == {"p0": "-1000", "p1": "1"}
    world.queue = Queue(queue_length=10)
    await world.second()
    assert world.kube.costs == {"p0": "1", "p1": "1"}
    before = len(world.kube.bodies(kube.pod(NAMESPACE, "p0")))
    await world.second(5)
    assert len(world.kube.bodies(kube.pod(NAMESPACE, "p0"))) == before


async def test_a_pod_that_is_to_go_keeps_its_cost_and_so_does_one_of_another_pool() -> None:
    world = World(3, {"minReplicas": 1})
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-1000"}
    foreign = pod("p2", labels={"app": "another"}, annotations=cost)
    world.kube.pods["p2"] = foreign
    world.kube.deployment = deployment(2, 50)
    world.kube.refuse = conflicts
    await world.second(6)
    assert world.kube.costs == {"p0": "-1000", "p1": "1"}


async def test_in_an_outage_costs_stay_as_they_are() -> None:
    world = World(2, {"minReplicas": 1})
    world.kube.refuse = conflicts
    await world.second(2)
    assert world.kube.costs == {"p0": "-1000", "p1": "1"}
    # The time in the stats stands still.
    for _ in range(60):
        await world.tick()
    assert world.kube.condition("StatsAvailable")[0] == "False"
    assert world.kube.costs == {"p0": "-1000", "p1": "1"}


async def test_a_cost_that_cannot_be_taken_back_fails_nothing_else() -> None:
    world = World(2)
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-1000"}
    world.kube.pods["p0"] = pod("p0", annotations=cost)
    world.kube.refuse = lambda path: KubeError(403, "x") if path.endswith("p0") else None
    world.queue = Queue(queue_length=50)
    await world.second()
    assert world.size == 10
    assert world.kube.condition("Ready") == ("True", "Ready")
    assert world.metric("errors_total")[0].startswith('{kind="cost"')


async def test_a_dead_watch_of_pods_shrinks_nothing() -> None:
    world = World(3, {"minReplicas": 1})
    await world.second()
    world.kube.pods["p9"] = world.kube.pods.pop("p2") | {"metadata": pod("p9")["metadata"]}
    for _ in range(12):
        world.clock.now += 1
        world.read()
        await world.look()
    assert world.kube.sizes == []
    assert world.kube.condition("Ready") == ("False", "ScalingDelayed")
    world.busy = {0: 0, 1: 0, 9: 0}
    await world.second(3)
    assert world.size == 1


async def test_marks_that_fail_every_other_round_are_told_once() -> None:
    world = World(3)
    world.busy = dict.fromkeys(world.busy, 1)
    for second in range(100):
        world.api.error = ApiError(503, "HTTP 503") if second % 2 else None
        # Others are to go each time.
        world.marked.clear()
        world.resource._marks._marks.clear()
        await world.second()
    assert [reason for reason, _ in world.kube.events] == ["DrainingFailed"]


async def test_a_load_around_the_limit_is_told_once() -> None:
    world = World(10, {"maxReplicas": 10, "stabilizationSeconds": 60})
    for second in range(120):
        world.queue = Queue(queue_length=55 if second % 2 else 50)
        await world.second()
    assert [reason for reason, _ in world.kube.events] == ["ScalingLimited"]
    assert len(world.kube.bodies(STATUS)) <= 13


async def test_short_tasks_write_no_status_each_second() -> None:
    world = World(1, {"cooldownSeconds": 60, "minReplicas": 1})
    for second in range(120):
        world.queue = Queue(running=second % 2)
        await world.second()
    assert len(world.kube.bodies(STATUS)) <= 41


async def test_a_worker_that_is_to_work_is_unmarked_before_another_is_marked() -> None:
    world = World(2, {"minReplicas": 1})
    world.busy = {0: 1, 1: 1}
    world.queue = Queue(running=2)
    await world.second(2)
    [marked] = world.marked
    world.busy[1 - marked] = 0
    world.api.taken()
    await world.second()
    assert world.api.taken() == [("undrain", f"w{marked}"), ("drain", f"w{1 - marked}")]


async def test_the_age_of_the_stats_ends_with_the_deployment() -> None:
    world = World(1, {"minReplicas": 1})
    await world.second()
    assert world.metric("stats_age_seconds")
    world.deployments.clear()
    await world.second()
    assert world.metric("stats_age_seconds") == []


async def test_nothing_is_told_without_the_lead() -> None:
    world = World(1, {"minReplicas": 1})
    world.leads = False
    await world.second(3)
    assert world.kube.writes == []

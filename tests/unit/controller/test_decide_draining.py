"""Which workers go: idle ones, then those soonest free, and none before it has acknowledged."""

from __future__ import annotations

import pytest

from controller.decide import ACKNOWLEDGED_COST, History, decide
from controller.model import Decision, Observation, Pod, Queue, Reason, Spec
from tests.unit.controller.scenes import START, Pool, seen, worker


def decided(observation: Observation, target: int) -> Decision:
    """The decision when so many have been wanted for long."""
    spec = Spec(min_replicas=target, max_replicas=target)
    history = History(
        target=target,
        replicas=observation.replicas,
        written=observation.replicas,
        epoch="e1",
        reading_at=START - 1,
        advanced_at=START - 1,
    )
    return decide(observation, history, spec, START)[0]


def test_idle_workers_drain_first_then_those_soonest_free() -> None:
    workers = (
        worker(1, 1, expected_free_seconds=50),
        worker(2, 1, expected_free_seconds=9),
        worker(3, 0),
        worker(4, 1, expected_free_seconds=None),
    )
    assert decided(seen(*workers), 3).drain == ("w3",)
    assert decided(seen(*workers), 2).drain == ("w3", "w2")
    assert decided(seen(*workers), 1).drain == ("w3", "w2", "w1")


def test_nothing_is_written_before_it_has_acknowledged() -> None:
    idle = (worker(1, 2), worker(2), worker(3))
    assert decided(seen(*idle), 1).written == 3
    marked = (worker(1, 2), worker(2, draining=True), worker(3, draining=True, drained=True))
    decision = decided(seen(*marked), 1)
    assert decision.written == 2
    assert decision.deletion_costs == {"p1": 1, "p2": 1, "p3": ACKNOWLEDGED_COST}


def test_deletion_costs_come_only_with_a_smaller_size() -> None:
    assert decided(seen(worker(1), worker(2)), 2).deletion_costs == {}


def test_marks_are_renewed_and_the_choice_stays() -> None:
    workers = (
        worker(1, 1, expected_free_seconds=8),
        worker(2, 3, draining=True, expected_free_seconds=40),
    )
    assert decided(seen(*workers), 1).drain == ("w2",)


def test_a_worker_turned_idle_takes_the_place_of_one_with_hours_to_go() -> None:
    workers = (worker(1), worker(2, 1, draining=True, expected_free_seconds=7200))
    decision = decided(seen(*workers), 1)
    assert (decision.drain, decision.undrain) == (("w1",), ("w2",))


@pytest.mark.parametrize("free", [None, 0.0], ids=["unknown", "as 0.2.0 tells it"])
def test_a_worker_turned_idle_takes_the_place_of_one_with_an_overdue_task(
    free: float | None,
) -> None:
    workers = (worker(1), worker(2, 1, draining=True, expected_free_seconds=free))
    decision = decided(seen(*workers), 1)
    assert (decision.drain, decision.undrain) == (("w1",), ("w2",))


def test_a_worker_with_an_overdue_task_drains_after_all_that_are_expected_free() -> None:
    workers = (
        worker(1, 1, expected_free_seconds=None),
        worker(2, 1, expected_free_seconds=50),
        worker(3, 1, expected_free_seconds=0.0),
    )
    assert decided(seen(*workers), 2).drain == ("w2",)


def test_one_that_is_almost_free_keeps_its_place() -> None:
    workers = (worker(1), worker(2, 1, draining=True, expected_free_seconds=2))
    decision = decided(seen(*workers), 1)
    assert (decision.drain, decision.undrain) == (("w2",), ())


def test_demand_that_returns_undrains_before_any_new_pod() -> None:
    pool = Pool(Spec(), replicas=8)
    pool.busy = dict.fromkeys(pool.busy, 1)
    pool.queue = Queue(running=8)
    pool.step(62)
    assert len(pool.draining) == 6
    pool.queue = Queue(queue_length=32, running=8)
    decision = pool.step()
    assert (decision.target, decision.written) == (8, 8)
    assert not pool.draining


def test_a_task_of_hours_blocks_no_other_scale_down() -> None:
    pool = Pool(Spec(), replicas=6)
    pool.busy = {number: 5 if number == 3 else 1 for number in pool.busy}
    pool.queue = Queue(running=10)
    pool.step(65)
    pool.busy = {number: busy if number == 3 else 0 for number, busy in pool.busy.items()}
    pool.queue = Queue(running=5)
    pool.step(70)
    assert pool.busy == {3: 5}
    assert not pool.draining


def test_pods_whose_worker_never_ran_go_first_and_need_no_acknowledgement() -> None:
    pods = (Pod("p1", started=True), Pod("p2", started=False), Pod("p3", started=False))
    decision = decided(seen(worker(1, 1), replicas=3, pods=pods), 1)
    assert (decision.drain, decision.written) == ((), 1)


def test_a_starting_pod_that_has_not_registered_is_not_taken() -> None:
    pods = (Pod("p1", started=True), Pod("p2", started=True))
    decision = decided(seen(worker(1, 1), replicas=2, pods=pods), 1)
    assert (decision.drain, decision.written) == ((), 2)


def test_a_worker_in_the_stats_counts_though_its_pod_is_not_seen_to_run_yet() -> None:
    # The kubelet tells that a container runs up to a second after it does.
    pods = (Pod("p1", started=True), Pod("p2", started=False))
    decision = decided(seen(worker(1, 1), worker(2, 3), pods=pods), 1)
    assert (decision.written, decision.drain, decision.deletion_costs) == (2, ("w1",), {})
    drained = worker(1, draining=True, drained=True)
    pods = (Pod("p1", started=True), Pod("p2", started=False, ready=False))
    decision = decided(seen(drained, worker(2, 3), pods=pods), 1)
    assert (decision.written, decision.reason) == (2, Reason.BUSY_NOT_READY)


@pytest.mark.parametrize(("age", "written"), [(1, 3), (29, 3), (31, 2), (-5, 3), (-3600, 2)])
def test_a_pod_about_to_register_holds_the_size_for_it_would_be_taken_first(
    age: float, written: int
) -> None:
    # Kubernetes takes what is not ready before it looks at costs. A node's clock may be ahead.
    starting = Pod("p3", started=True, ready=False, started_at=START - age)
    pods = (Pod("p1", started=True), Pod("p2", started=True), starting)
    workers = (worker(1, 2), worker(2, draining=True, drained=True))
    decision = decided(seen(*workers, replicas=3, pods=pods), 1)
    assert (decision.written, decision.reason) == (written, Reason.NOT_REGISTERED)


@pytest.mark.parametrize(("since", "written"), [(2, 2), (31, 1), (None, 1)])
def test_a_pod_that_is_being_made_holds_the_size_for_it_may_claim_before_it_is_taken(
    since: float | None, written: int
) -> None:
    # None: no node has it, or it cannot run.
    made = None if since is None else START - since
    pods = (Pod("p1", started=True), Pod("p2", started=False, ready=False, started_at=made))
    assert decided(seen(worker(1, 2), replicas=2, pods=pods), 1).written == written


def test_a_drained_worker_that_is_not_ready_and_stays_holds_the_size() -> None:
    # It is unmarked this very second, and would be taken before the one that may go.
    pods = (Pod("p1", started=True), Pod("p2", started=True, ready=False))
    workers = [worker(number, draining=True, drained=True) for number in (1, 2)]
    decision = decided(seen(*workers, pods=pods), 1)
    assert (decision.undrain, decision.written) == (("w2",), 2)


def test_pods_that_never_register_are_kept_and_it_says_so() -> None:
    pods = tuple(Pod(f"p{number}", started=True) for number in range(1, 5))
    decision = decided(seen(worker(1, 1), replicas=4, pods=pods), 1)
    assert (decision.target, decision.written, decision.reason) == (1, 4, Reason.NOT_REGISTERED)
    assert decision.message.startswith("3 kept that are not in the stats; then 1 worker: ")
    # No worker at work has to go for each of them.
    assert decision.drain == ()


def test_workers_that_are_about_to_end_stay_marked_though_demand_is_back() -> None:
    # 5 was written for 8, and the 3 pods are seen still.
    workers = [worker(number, 1) for number in range(5)]
    workers += [worker(number, draining=True, drained=True) for number in (5, 6, 7)]
    decision = decided(seen(*workers, replicas=5), 8)
    assert (decision.written, decision.undrain) == (8, ())
    assert decision.drain == ("w5", "w6", "w7")


def test_a_pod_that_holds_nothing_ends_before_any_worker_does() -> None:
    workers = [worker(number, draining=True, drained=True) for number in range(3)]
    pods = (*(Pod(f"p{number}", started=True) for number in range(3)), Pod("p3", started=False))
    decision = decided(seen(*workers, replicas=3, pods=pods), 3)
    assert decision.undrain == ("w0", "w1", "w2")


def test_while_deleted_pods_are_still_seen_no_more_are_taken() -> None:
    # 2 of 6 have acknowledged and 4 was written; their deletion has not been seen yet.
    workers = [worker(number, 1) for number in range(4)]
    workers += [worker(number, draining=True, drained=True) for number in (4, 5)]
    assert decided(seen(*workers, replicas=4), 1).written == 4


def test_pods_not_seen_yet_count_as_not_acknowledged() -> None:
    drained = worker(1, draining=True, drained=True)
    assert decided(seen(drained, replicas=5), 0).written == 4


def test_a_rollouts_surplus_pods_are_no_reason_for_a_larger_size() -> None:
    # A rollout adds its own pods to the size: to write them would let it add more, and so on.
    workers = [worker(number) for number in range(5)]
    assert decided(seen(*workers, replicas=4, rolling_out=True), 1).written == 4


def test_workers_of_other_pools_and_outside_the_cluster_are_left_alone() -> None:
    ours, other = worker(1), worker(2)
    outside = worker(3, pod=None)
    pods = (Pod("p1", started=True),)
    decision = decided(seen(ours, other, outside, replicas=1, pods=pods), 0)
    assert decision.drain == ("w1",)


def test_a_pod_has_acknowledged_when_all_its_workers_have() -> None:
    # A container that was restarted: the worker before it is registered still.
    pair = (
        worker(1, draining=True, drained=True, pod="p1"),
        worker(2, 1, draining=True, pod="p1"),
    )
    pods = (Pod("p1", started=True),)
    assert decided(seen(*pair, replicas=1, pods=pods), 0).written == 1


def test_above_max_only_while_workers_drain_and_it_says_so() -> None:
    workers = [worker(number, 1) for number in range(4)]
    decision = decided(seen(*workers), 2)
    assert (decision.target, decision.written) == (2, 4)
    assert decision.limited == "4 stay until they have drained, max is 2"

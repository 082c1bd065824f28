"""How many workers: the model, the bounds, window and cooldown, storms, several queues."""

from __future__ import annotations

import pytest

from controller.decide import History, decide, load
from controller.model import Queue, QueueRates, Reason, Spec
from tests.unit.controller.scenes import START, Pool, seen, worker


def measured(per_second: float, seconds: float | None) -> QueueRates:
    return QueueRates(
        attempts_per_second=per_second,
        first_attempts_per_second=per_second,
        service_seconds=seconds,
    )


def wanted(queue: Queue, rates: QueueRates, spec: Spec | None = None, c: int = 5) -> int:
    return load({"tasks": queue}, {"tasks": rates}, spec or Spec(), c).wanted


def test_the_size_keeps_up_with_arrivals_and_works_off_the_backlog_in_time() -> None:
    # 4/s for 5 s: 20 slots. 60 waiting for 5 s each within 30 s: 10 more.
    assert wanted(Queue(queue_length=60, running=20), measured(4, 5)) == 6


def test_there_are_no_more_slots_than_tasks() -> None:
    assert wanted(Queue(queue_length=6, running=5), measured(100, 60)) == 3


def test_while_the_run_time_is_unknown_each_task_has_a_slot() -> None:
    assert wanted(Queue(queue_length=23, running=2, due_soon=1), measured(100, None)) == 6


def test_a_plain_ratio_replaces_the_model() -> None:
    queue = Queue(queue_length=23, running=2)
    assert wanted(queue, measured(100, 60), Spec(tasks_per_replica=10)) == 3


def test_a_plain_ratio_never_makes_more_slots_than_tasks() -> None:
    assert wanted(Queue(queue_length=25), measured(100, 60), Spec(tasks_per_replica=1)) == 5


@pytest.mark.parametrize(
    "queue", [Queue(queue_length=1), Queue(running=1), Queue(due_soon=1)], ids=str
)
def test_any_task_at_all_wants_a_worker(queue: Queue) -> None:
    assert wanted(queue, measured(0, 0.001)) == 1


def test_each_queue_counts_by_its_own_run_time() -> None:
    queues = {"quick": Queue(queue_length=3000), "slow": Queue(queue_length=10)}
    rates = {"quick": measured(0, 0.01), "slow": measured(0, 60)}
    # The quick ones need one slot; each of the slow ones has its own.
    assert load(queues, rates, Spec(), 1).wanted == 11


def test_only_the_pools_queues_count() -> None:
    queues = {"ours": Queue(queue_length=10), "theirs": Queue(queue_length=1000)}
    decision, _ = decide(seen(queues=queues), History(), Spec(queues=("ours",)), START)
    assert (decision.target, decision.demand) == (2, 10)


def test_queues_that_the_api_does_not_know_are_told() -> None:
    queues = {"tasks": Queue(queue_length=10)}
    decision, _ = decide(seen(queues=queues), History(), Spec(queues=("taks", "x")), START)
    assert (decision.target, decision.reason) == (0, Reason.NO_WORK)
    assert decision.message.endswith("due soon; the API knows no queue taks or x")
    decision, _ = decide(seen(queues=queues), History(), Spec(queues=("tasks",)), START)
    assert "knows no" not in decision.message


def test_zero_to_many_is_one_step() -> None:
    pool = Pool(Spec())
    pool.step()
    pool.queue = Queue(queue_length=50)
    decision = pool.step()
    assert (decision.target, decision.written, decision.reason) == (10, 10, Reason.WORK_AT_HAND)
    assert decision.message == (
        "10 workers: 50 tasks queued, running or due soon, 5 a worker at once"
    )


def test_the_live_workers_tell_how_much_one_runs_at_once() -> None:
    observation = seen(worker(1, concurrency=2), queues={"tasks": Queue(queue_length=10)})
    decision, _ = decide(observation, History(), Spec(concurrency=5), START)
    assert decision.target == 5


def test_the_target_stays_below_max_and_says_so() -> None:
    decision, _ = decide(seen(queues={"tasks": Queue(queue_length=500)}), History(), Spec(), START)
    assert (decision.target, decision.limited) == (10, "100 wanted, max is 10")


def test_the_target_stays_above_min_and_says_so() -> None:
    decision, _ = decide(seen(), History(), Spec(min_replicas=2), START)
    assert (decision.target, decision.written) == (2, 2)
    assert decision.limited == "0 wanted, min is 2"


def test_contradicting_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at most max_replicas"):
        Spec(min_replicas=3, max_replicas=2)


def test_down_after_the_window_and_to_zero_after_the_cooldown() -> None:
    pool = Pool(Spec())
    pool.queue = Queue(queue_length=50)
    pool.step()
    pool.queue = Queue()
    found = [
        (decision.target, decision.reason)
        for decision in (pool.step(59), pool.step(2), pool.step(58), pool.step(2))
    ]
    assert found == [
        (10, Reason.STABILIZING),
        (1, Reason.COOLING_DOWN),
        (1, Reason.COOLING_DOWN),
        (0, Reason.NO_WORK),
    ]
    assert pool.step(3).written == 0


def test_a_trickle_shrinks_ten_workers_to_the_minimum() -> None:
    pool = Pool(Spec(), replicas=10)
    for done in range(1, 181):
        # One task at a time, half a second long, met anywhere by the readings.
        pool.queue = Queue(
            queue_length=done % 2,
            running=(done + 1) % 2,
            arrivals_total=done,
            completions_total=done,
            service_seconds_total=done * 0.5,
        )
        pool.step()
    assert (pool.decisions[-1].target, pool.replicas) == (1, 1)


def test_a_retry_storm_keeps_one_worker_only() -> None:
    storm = Queue(
        queue_length=400,
        queue_length_retries=400,
        due_soon=100,
        retries_per_minute=300,
        completions_per_minute=20,
    )
    pool = Pool(Spec())
    pool.queue = storm
    decision = pool.step()
    assert (decision.target, decision.reason) == (1, Reason.RETRIES_ONLY)


def test_first_attempts_count_in_a_storm() -> None:
    storm = Queue(queue_length=420, queue_length_retries=400, crashes_per_minute=300)
    assert wanted(storm, measured(0, None)) == 4


def test_a_retry_that_is_due_wakes_a_worker() -> None:
    pool = Pool(Spec())
    pool.step()
    pool.queue = Queue(due_soon=1, retries_per_minute=1)
    assert pool.step().target == 1


def test_retries_count_as_arrivals_when_they_are_few() -> None:
    pool = Pool(Spec(max_replicas=50))
    arrived = retried = ended = 0
    for _ in range(120):
        arrived, retried, ended = arrived + 10, retried + 5, ended + 15
        pool.queue = Queue(
            queue_length=10,
            running=30,
            arrivals_total=arrived,
            retries_total=retried,
            completions_total=ended - retried,
            service_seconds_total=ended * 2.0,
            completions_per_minute=600,
            retries_per_minute=300,
        )
        pool.step()
    # 15 attempts a second of 2 s: 30 slots; 10 waiting: 0.7 more.
    assert pool.decisions[-1].wanted == 7


def test_a_size_set_by_hand_is_kept_for_a_window_and_decided_from() -> None:
    pool = Pool(Spec(), replicas=2)
    pool.queue = Queue(queue_length=1, running=1)
    pool.step(200)
    assert pool.replicas == 1
    pool.replicas = 6
    pool.busy.update(dict.fromkeys(range(100, 105), 0))
    assert pool.step(55).written == 6
    assert pool.step(10).written == 1


def test_an_unchanged_load_never_changes_the_size() -> None:
    pool = Pool(Spec(), replicas=1)
    ended = 0
    for second in range(600):
        arrived = (second + 1) * 4
        ended = max(arrived - 40, 0)
        pool.queue = Queue(
            queue_length=0,
            running=min(arrived, 40),
            arrivals_total=arrived,
            completions_total=ended,
            service_seconds_total=ended * 10.0,
        )
        pool.step()
    targets = [decision.target for decision in pool.decisions[120:]]
    assert set(targets) == {8}


def test_a_smaller_size_needs_room_for_a_tenth_more_load() -> None:
    # 20 slots would be 4 workers: with a tenth more they are 5, so 5 stay and 6 do not.
    queue = Queue(queue_length=15, running=20)
    asked = load({"tasks": queue}, {"tasks": measured(3.5, 5)}, Spec(), 5)
    assert (asked.wanted, asked.kept) == (4, 5)

"""What is not known shrinks nothing: outages, old readings, lost data, pause, conflict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.decide import History, decide
from controller.model import Pod, Queue, Reason, Spec, Unread
from tests.unit.controller.scenes import AWAY, START, Pool, seen, worker


def busy_pool(replicas: int = 8) -> Pool:
    pool = Pool(Spec(), replicas)
    pool.busy = dict.fromkeys(pool.busy, 5)
    pool.queue = Queue(running=5 * replicas)
    pool.step(10)
    return pool


def test_an_outage_holds_the_size_and_is_told_within_ten_seconds() -> None:
    pool = busy_pool()
    size = pool.replicas
    pool.away = AWAY
    decision = pool.step(8)
    assert (decision.written, decision.reason) == (size, Reason.STATS_UNAVAILABLE)
    assert not decision.stats_available
    assert decision.message == f"{size} workers held: HTTP 503"
    assert pool.step(3600).written == size


@pytest.mark.parametrize("step", [-3600.0, 120.0])
def test_a_wall_clock_that_is_set_moves_neither_window_nor_cooldown(step: float) -> None:
    pool = Pool(Spec(), replicas=5)
    pool.step(30)
    pool.wall_ahead = step
    assert pool.step(30).written == 5
    assert pool.step(5).written == 1
    pool.wall_ahead = 0
    assert pool.step(50).written == 1
    assert pool.step(10).written == 0


def test_one_lost_poll_is_no_outage() -> None:
    pool = busy_pool()
    pool.away = AWAY
    decision = pool.step(2)
    assert decision.stats_available
    assert decision.written == pool.replicas


def test_a_poll_lost_now_and_then_does_not_keep_workers() -> None:
    pool = Pool(Spec(), replicas=5)
    for second in range(200):
        pool.away = AWAY if second % 20 == 0 else None
        pool.step()
    assert pool.step().written == 0


def test_nothing_is_marked_without_a_reading() -> None:
    observation = seen(worker(1), worker(2, draining=True))
    decision, _ = decide(
        seen(replicas=2, pods=observation.pods), History(), Spec(dry_run=False), START
    )
    assert decision.drain == ()


def test_after_an_outage_window_and_cooldown_begin_again() -> None:
    pool = Pool(Spec(), replicas=5)
    pool.step(50)
    pool.away = AWAY
    pool.step(300)
    pool.away = None
    assert pool.step(59).written == 5
    assert pool.step(10).written == 1
    assert pool.step(40).written == 1
    assert pool.step(30).written == 0


def test_a_redis_that_has_forgotten_everything_takes_nobody_away() -> None:
    pool = busy_pool(8)
    size = pool.replicas
    pool.away = AWAY
    pool.step(60)
    pool.away, pool.epoch, pool.blind, pool.queue = None, "e2", True, Queue()
    decision = pool.step(5)
    assert (decision.written, decision.drain) == (size, ())
    assert pool.step(300).written == size
    # The workers have registered again and still run: they drain, and stay until they have.
    pool.blind, pool.queue = False, Queue(running=40)
    assert pool.step(30).written == size


def test_another_epoch_starts_window_and_cooldown_again() -> None:
    pool = Pool(Spec(), replicas=5)
    pool.step(55)
    pool.epoch = "e2"
    assert pool.step(58).written == 5
    assert pool.step(10).written == 1
    assert pool.step(45).written == 1
    assert pool.step(20).written == 0


def test_workers_that_never_register_are_never_taken_away() -> None:
    pool = Pool(Spec(), replicas=3)
    pool.blind = True
    decision = pool.step(600)
    assert (decision.written, decision.reason) == (3, Reason.NOT_REGISTERED)
    assert decision.message == (
        "3 kept that are not in the stats; then 0 workers: no task waits, runs or is due soon"
    )


def test_an_old_reading_is_none() -> None:
    decision, _ = decide(seen(worker(1), at=START - 60), History(), Spec(), START)
    assert (decision.reason, decision.written) == (Reason.STATS_STALE, 1)
    assert "60 s old" in decision.message
    assert not decision.stats_available


def test_a_reading_whose_time_stands_still_is_none() -> None:
    observation = seen(worker(1, 1), queues={"tasks": Queue(running=1)})
    _, history = decide(observation, History(), Spec(), START)
    later = replace(observation, at=START + 9)
    decision, _ = decide(later, history, Spec(), START + 9)
    assert decision.reason is Reason.STATS_STALE
    assert "stands still for 9 s" in decision.message


def test_a_clock_that_went_back_does_not_stop_the_decision() -> None:
    _, history = decide(seen(worker(1), at=START + 3600), History(), Spec(), START)
    available = []
    for second in range(1, 30):
        observation = seen(worker(1), at=START + second)
        observation = replace(observation, at=START + second)
        decision, history = decide(observation, history, Spec(), START + second)
        available.append(decision.stats_available)
    assert all(available)


def test_a_fallback_raises_and_never_lowers() -> None:
    pool = Pool(Spec(fallback_replicas=3), replicas=1)
    pool.away = AWAY
    decision = pool.step()
    assert (decision.written, decision.message) == (3, "3 workers, raised from 1: HTTP 503")
    assert not decision.stats_available
    pool = Pool(Spec(fallback_replicas=3), replicas=7)
    pool.away = AWAY
    assert pool.step().written == 7


def test_before_the_first_reading_there_is_none_however_young_the_machine() -> None:
    decision, _ = decide(replace(seen(), reading=AWAY), History(), Spec(), now=2.0)
    assert not decision.stats_available


def test_a_fallback_begins_with_an_outage_and_not_with_a_lost_poll() -> None:
    pool = Pool(Spec(fallback_replicas=3))
    pool.step(5)
    pool.away = AWAY
    assert pool.step(4).written == 0
    assert pool.step().written == 3


def test_a_lower_max_during_an_outage_takes_nobody_away() -> None:
    pool = busy_pool(8)
    pool.away, pool.spec = AWAY, Spec(max_replicas=3)
    decision = pool.step(20)
    assert (decision.target, decision.written) == (3, 8)
    assert decision.limited == "8 stay while the stats are away, max is 3"


def test_a_size_set_by_hand_during_an_outage_stays() -> None:
    pool = busy_pool(8)
    pool.away = AWAY
    pool.step(20)
    pool.replicas = 4
    pool.busy = dict.fromkeys(range(4), 5)
    assert pool.step(5).written == 4


def test_a_disabled_queue_holds_too() -> None:
    pool = busy_pool(8)
    size = pool.replicas
    pool.away = Unread(Reason.STATS_DISABLED, "the queue is switched off")
    assert pool.step(100).written == size


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"paused": True}, Reason.PAUSED, "paused at 1; without it: 10 workers"),
        (
            {"conflict": "HorizontalPodAutoscaler/web"},
            Reason.CONFLICT,
            "HorizontalPodAutoscaler/web scales the same workers",
        ),
    ],
)
def test_paused_or_in_conflict_it_only_says_what_it_would_do(
    fields: dict[str, Any], reason: Reason, words: str
) -> None:
    observation = seen(worker(1), queues={"tasks": Queue(queue_length=90)}, **fields)
    decision, history = decide(observation, History(), Spec(), START)
    assert (decision.act, decision.target, decision.reason) == (False, 10, reason)
    assert words in decision.message
    assert history.written == 1


def test_a_dry_run_says_the_reason_and_does_nothing() -> None:
    observation = seen(worker(1), queues={"tasks": Queue(queue_length=90)})
    decision, _ = decide(observation, History(), Spec(dry_run=True), START)
    assert (decision.act, decision.reason) == (False, Reason.WORK_AT_HAND)


def test_the_first_look_shrinks_nothing_for_a_window() -> None:
    observation = seen(*(worker(number) for number in range(6)))
    decision, _ = decide(observation, History(), Spec(), START)
    assert (decision.written, decision.drain, decision.reason) == (6, (), Reason.STABILIZING)


def test_a_rollout_holds_the_size_and_lets_all_work() -> None:
    pool = Pool(Spec(), replicas=6)
    pool.busy = dict.fromkeys(pool.busy, 1)
    pool.queue = Queue(running=6)
    pool.step(62)
    assert len(pool.draining) == 4
    decision = pool.step(rolling_out=True)
    assert (decision.reason, decision.drain) == (Reason.ROLLING_OUT, ())
    assert decision.written == pool.replicas
    assert not pool.draining


def test_a_worker_at_work_that_is_not_ready_holds_the_size() -> None:
    pods = (Pod("p1", started=True, ready=False), Pod("p2", started=True))
    workers = (worker(1, 2), worker(2, draining=True, drained=True))
    history = History(target=1, replicas=2, written=2, epoch="e1", reading_at=START - 1)
    observation = seen(*workers, pods=pods, queues={"tasks": Queue(running=2)})
    decision, _ = decide(observation, history, Spec(), START)
    assert (decision.target, decision.written, decision.reason) == (1, 2, Reason.BUSY_NOT_READY)
    assert decision.drain == ("w2",)

"""What the status says, when it is written, and which events a change is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide import History, decide
from controller.events import LONGEST_NOTE, Event, Lately, body, events
from controller.model import Decision, Observation, Queue, Reading, Reason, Spec, Unread
from controller.resource import Identity, parse
from controller.status import (
    DRAINING_FAILED,
    TARGET_NOT_FOUND,
    Fault,
    Status,
    decided,
    due,
    timestamp,
    undecided,
)
from tests.unit.controller.fakes import autoscaler
from tests.unit.controller.scenes import AWAY, START, seen, worker

QUEUES = {"tasks": Queue(queue_length=7, queue_length_retries=2, running=3, due_soon=1)}
LOST = Unread(Reason.STATS_UNAVAILABLE, "HTTP 503")


def status_of(
    observation: Observation,
    decision: Decision | None = None,
    old: Status | None = None,
    *,
    spec: Spec | None = None,
    now: float = START,
    **more: Any,
) -> Status:
    """The status after this."""
    spec = spec or Spec()
    decision = decision or decide(observation, History(), spec, now)[0]
    fields = {"generation": 3, "replicas": observation.replicas, "scaled_at": None}
    return decided(old or {}, observation, decision, spec, now=now, **{**fields, **more})


def flags(status: Status) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


def reason(status: Status, kind: str) -> str:
    [found] = [
        condition["reason"] for condition in status["conditions"] if condition["type"] == kind
    ]
    return str(found)


def gap(observation: Observation) -> Decision:
    """The decision when a single poll was lost."""
    decision, _ = decide(replace(observation, reading=AWAY), History(), Spec(), START)
    return replace(decision, stats_available=True)


def test_a_decision_is_told_with_its_numbers() -> None:
    status = status_of(seen(worker(1), worker(2, draining=True), queues=QUEUES))
    assert (status["replicas"], status["desiredReplicas"]) == (2, 3)
    assert (status["demand"], status["drainingReplicas"]) == (11, 0)
    assert status["lastReading"] == {
        "time": "2027-01-15T08:00:00Z",
        "queued": 7,
        "retries": 2,
        "running": 3,
        "dueSoon": 1,
        "workers": 2,
    }
    assert status["lastDecision"]["reason"] == "WorkAtHand"
    assert status["observedGeneration"] == 3
    assert "lastScaleTime" not in status


def test_only_the_pools_queues_are_summed_up() -> None:
    queues = {**QUEUES, "theirs": Queue(queue_length=1000)}
    status = status_of(seen(queues=queues), spec=Spec(queues=("tasks",)))
    assert status["lastReading"]["queued"] == 7


def test_only_the_pools_workers_are_counted() -> None:
    theirs = worker(3, pod="of-another-pool")
    observation = seen(worker(1), worker(2), theirs, queues=QUEUES)
    own = replace(observation, pods=observation.pods[:2], replicas=2)
    assert status_of(own)["lastReading"]["workers"] == 2


def test_who_drains_is_counted_as_decided() -> None:
    observation = seen(worker(1, draining=True), worker(2, draining=True), worker(3), worker(4))
    decision = decide(observation, History(), Spec(), START)[0]
    acting = replace(decision, drain=("w1", "w3", "w4"), undrain=("w2",))
    assert status_of(observation, acting)["drainingReplicas"] == 3
    assert status_of(observation, replace(acting, act=False))["drainingReplicas"] == 2


def test_what_is_unknown_is_removed_and_never_zero() -> None:
    old = status_of(seen(worker(1), queues=QUEUES))
    status = status_of(replace(seen(worker(1)), reading=LOST), old=old)
    assert status["demand"] is None
    assert status["drainingReplicas"] is None
    assert status["lastReading"] == old["lastReading"]
    assert flags(status)["Active"] == "Unknown"


def test_a_lost_poll_changes_nothing() -> None:
    observation = seen(worker(1), queues=QUEUES)
    old = status_of(observation)
    status = status_of(replace(observation, reading=LOST), gap(observation), old, now=START + 1)
    assert status == old | {"desiredReplicas": status["desiredReplicas"]}


def test_ready_says_why_not() -> None:
    observation = seen(worker(1), queues=QUEUES)
    fault = Fault(DRAINING_FAILED, "HTTP 403")
    lost = replace(observation, reading=LOST)
    conflicting = replace(lost, conflict="HorizontalPodAutoscaler/x")
    assert reason(status_of(observation), "Ready") == "Ready"
    assert reason(status_of(observation, fault=fault), "Ready") == DRAINING_FAILED
    assert reason(status_of(lost, fault=fault), "Ready") == "StatsUnavailable"
    assert reason(status_of(conflicting), "Ready") == "Conflict"
    assert reason(status_of(conflicting), "StatsAvailable") == "StatsUnavailable"
    assert flags(status_of(conflicting))["Ready"] == "False"
    assert reason(status_of(replace(observation, paused=True)), "Ready") == "Paused"
    assert reason(status_of(observation, spec=Spec(dry_run=True)), "Ready") == "DryRun"


def test_an_old_reading_is_told_as_stale() -> None:
    status = status_of(seen(worker(1), at=START - 60))
    assert flags(status)["StatsAvailable"] == "False"
    assert reason(status, "StatsAvailable") == "StatsStale"
    messages = {condition["type"]: condition["message"] for condition in status["conditions"]}
    sentence = "the stats are 60 s old, or the clocks of Redis and the operator differ"
    assert messages["StatsAvailable"] == messages["Ready"] == sentence
    assert "lastReading" not in status


def test_without_a_target_nothing_is_known() -> None:
    old = status_of(seen(worker(1), queues=QUEUES))
    status = undecided(old, Fault(TARGET_NOT_FOUND, "none"), now=START, generation=4, paused=False)
    assert flags(status) == {
        "Ready": "False",
        "Active": "Unknown",
        "StatsAvailable": "Unknown",
        "ScalingLimited": "Unknown",
        "Paused": "False",
        "Conflict": "Unknown",
    }
    assert (status["replicas"], status["desiredReplicas"], status["demand"]) == (None, None, None)
    assert status["lastDecision"]["reason"] == TARGET_NOT_FOUND


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Observation, Spec]:
    busy = draw(st.integers(0, 5))
    observation = replace(
        seen(worker(1, busy), queues=QUEUES if busy else {}),
        paused=draw(st.booleans()),
        conflict=draw(st.sampled_from([None, "WorkerAutoscaler/x"])),
    )
    if draw(st.booleans()):
        observation = replace(observation, reading=LOST)
    return observation, draw(st.sampled_from([Spec(), Spec(max_replicas=1), Spec(min_replicas=2)]))


@given(st.lists(scenes(), min_size=2, max_size=8))
def test_a_transition_time_moves_when_the_status_flips_and_only_then(
    story: list[tuple[Observation, Spec]],
) -> None:
    status: Status = {}
    for second, (observation, spec) in enumerate(story):
        now = START + second
        before = {condition["type"]: condition for condition in status.get("conditions", ())}
        status = status_of(observation, old=status, spec=spec, now=now)
        assert len(status["conditions"]) == 6
        for condition in status["conditions"]:
            earlier = before.get(condition["type"])
            if earlier and earlier["status"] == condition["status"]:
                assert condition["lastTransitionTime"] == earlier["lastTransitionTime"]
            else:
                assert condition["lastTransitionTime"] == timestamp(now)


def changed(**fields: Any) -> tuple[Status, Status]:
    before = status_of(seen(worker(1), queues=QUEUES))
    after = {**before, "lastDecision": {**before["lastDecision"], "time": "later"}}
    for name, value in fields.items():
        after[name] = {**before[name], **value} if isinstance(value, dict) else value
    return before, after


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"desiredReplicas": 9}, 0),
        ({"drainingReplicas": 9}, 0),
        ({"observedGeneration": 9}, 0),
        ({"lastScaleTime": "2027"}, 0),
        ({"lastDecision": {"reason": "Stabilizing"}}, 3),
        ({"lastDecision": {"message": "other numbers"}}, 10),
        ({"lastReading": {"queued": 8}}, 10),
        ({"demand": 8}, 10),
        ({"demand": None}, 10),
        ({"lastReading": {"time": "later"}}, 60),
        ({}, 60),
    ],
    ids=str,
)
def test_a_change_is_written_as_soon_as_it_is_worth_it(
    fields: dict[str, Any], seconds: float
) -> None:
    before, after = changed(**fields)
    assert due(before, after, seconds)
    assert not due(before, after, seconds - 0.1)


def test_a_status_that_is_the_same_is_never_written() -> None:
    before, _ = changed()
    assert not due(before, dict(before), 1e9)


def test_a_flip_is_written_at_once_and_a_sentence_with_other_numbers_is_not() -> None:
    limited = status_of(seen(worker(1), queues={"tasks": Queue(queue_length=100)}))
    more = status_of(seen(worker(1), queues={"tasks": Queue(queue_length=200)}), old=limited)
    assert limited["conditions"] != more["conditions"]
    assert not due(limited, more, 9.9)
    assert due(
        limited, status_of(seen(worker(1)), old=limited, fault=Fault("ScalingFailed", "x")), 0
    )


def test_conditions_that_follow_the_load_are_written_like_its_numbers() -> None:
    busy = status_of(seen(worker(1), queues={"tasks": Queue(queue_length=100)}))
    for kind in ("Active", "ScalingLimited"):
        conditions = [
            {**condition, "status": "False", "reason": "x", "lastTransitionTime": "later"}
            if condition["type"] == kind
            else condition
            for condition in busy["conditions"]
        ]
        assert not due(busy, {**busy, "conditions": conditions}, 9.9)
        assert due(busy, {**busy, "conditions": conditions}, 10)


def reasons(old: Status, new: Status) -> list[str]:
    return [event.reason for event in events(old, new)]


def test_each_event_is_told_at_the_onset_and_at_the_end_and_not_between() -> None:
    fine = seen(worker(1), queues=QUEUES)
    for other, onset, end in (
        (replace(fine, reading=LOST), ["StatsLost"], ["StatsBack"]),
        (replace(fine, paused=True), ["Paused"], ["Resumed"]),
        (replace(fine, conflict="WorkerAutoscaler/x"), ["Conflict"], ["ConflictResolved"]),
    ):
        first = status_of(fine)
        second = status_of(other, old=first, now=START + 1)
        third = status_of(other, old=second, now=START + 2)
        assert reasons({}, first) == []
        assert reasons(first, second) == onset
        assert reasons(second, third) == []
        assert reasons(third, status_of(fine, old=third, now=START + 3)) == end


def test_a_limit_is_told_once_for_each_onset() -> None:
    free = status_of(seen(worker(1), queues=QUEUES))
    limited = status_of(seen(worker(1), queues={"tasks": Queue(queue_length=100)}), old=free)
    assert events(free, limited) == [Event("ScalingLimited", "20 wanted, max is 10", recurs=True)]
    assert events(limited, free) == []


def test_an_idle_pool_that_keeps_its_minimum_is_limited_and_no_event() -> None:
    fine = status_of(seen(worker(1), queues=QUEUES))
    spec = Spec(min_replicas=1)
    idle = status_of(seen(worker(1)), old=fine, spec=spec)
    assert reason(idle, "ScalingLimited") == "TooFewReplicas"
    assert events(fine, idle) == []
    more = status_of(
        seen(worker(1), queues={"tasks": Queue(queue_length=100)}), old=idle, spec=spec
    )
    assert reasons(idle, more) == ["ScalingLimited"]
    fixed = status_of(seen(worker(1)), spec=Spec(min_replicas=3, max_replicas=3))
    assert reason(fixed, "ScalingLimited") == "FixedSize"


def test_a_fault_is_told_once_until_it_is_another() -> None:
    fine = status_of(seen(worker(1), queues=QUEUES))
    missing = Fault(TARGET_NOT_FOUND, "there is no Deployment x")
    lost = undecided(fine, missing, now=START, generation=1, paused=False)
    told_once = Event("TargetNotFound", missing.message, warning=True, recurs=True)
    assert events(fine, lost) == [told_once]
    assert events(lost, lost) == []
    assert events(lost, fine) == []
    refused = status_of(seen(worker(1), queues=QUEUES), fault=Fault(DRAINING_FAILED, "HTTP 403"))
    assert reasons(lost, refused) == [DRAINING_FAILED]


def test_a_size_that_was_written_is_told_and_one_of_somebody_else_is_not() -> None:
    before = status_of(seen(worker(1), worker(2), queues=QUEUES))
    grown = status_of(
        seen(worker(1), worker(2), queues=QUEUES), old=before, replicas=3, scaled_at=START
    )
    assert events(before, grown) == [
        Event(
            "ScaledUp", "2 -> 3 workers: 11 tasks queued, running or due soon, 5 a worker at once"
        )
    ]
    assert reasons(grown, {**grown, "replicas": 1, "lastScaleTime": "later"}) == ["ScaledDown"]
    assert reasons(grown, {**grown, "replicas": 1}) == []


def test_a_size_on_the_way_is_told_with_its_target() -> None:
    before = status_of(seen(*(worker(number) for number in range(6)), queues=QUEUES))
    decision = {**before["lastDecision"], "message": "1 worker: 5 tasks queued"}
    then = {**before, "replicas": 5, "desiredReplicas": 1, "lastScaleTime": "later"}
    [event] = events(before, {**then, "lastDecision": decision})
    assert event.message == "6 -> 5 workers (target 1): 5 tasks queued"
    kept = "2 workers kept: so many were wanted"
    [event] = events(before, {**then, "lastDecision": {**decision, "message": kept}})
    assert event.message == "6 -> 5 workers (target 1): 2 workers kept: so many were wanted"


def test_what_comes_and_goes_is_told_once_in_five_minutes() -> None:
    recurring = Event("ScalingLimited", "10 wanted", recurs=True)
    scaled, fault = Event("ScaledUp", "x"), Event("DrainingFailed", "x", recurs=True)
    lately = Lately()
    assert lately.worth_telling([scaled, recurring], 100) == [scaled, recurring]
    assert lately.worth_telling([scaled, recurring], 399.9) == [scaled]
    assert lately.worth_telling([fault], 399.9) == [fault]
    assert lately.worth_telling([recurring, fault], 400) == [recurring]


def test_two_sizes_within_a_second_are_two() -> None:
    first = status_of(seen(worker(1)), replicas=2, scaled_at=START + 0.1)
    second = status_of(seen(worker(1)), old=first, replicas=3, scaled_at=START + 0.9)
    assert reasons(first, second) == ["ScaledUp"]


def test_an_event_fits_what_kubernetes_takes() -> None:
    identity: Identity = parse(autoscaler()).identity
    made = body(Event("ScaledUp", "x" * 5000), identity, instance="pod-1", now=START)
    assert len(made["note"]) == LONGEST_NOTE
    assert made["eventTime"] == "2027-01-15T08:00:00.000000Z"
    assert (made["type"], made["regarding"]["uid"]) == ("Normal", identity.uid)


def test_the_reading_that_is_told_is_the_one_decided_from() -> None:
    observation = seen(worker(1), queues=QUEUES)
    old = status_of(observation)
    assert isinstance(observation.reading, Reading)
    later = replace(observation, reading=replace(observation.reading, at=START + 9))
    assert status_of(later, old=old)["lastReading"]["time"] == "2027-01-15T08:00:09Z"

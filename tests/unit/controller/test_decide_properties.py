"""What holds of every decision, whatever is observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.decide import REGISTERS_SECONDS, History, decide, load
from controller.model import (
    Decision,
    Observation,
    Pod,
    Queue,
    QueueRates,
    Reading,
    Reason,
    Spec,
    Unread,
    Worker,
)
from tests.unit.controller.scenes import START

counts = st.integers(0, 400)
few = st.integers(0, 20)
mostly = st.sampled_from([True, True, True, False])
minutes = st.floats(0, 500)
seconds = st.floats(0.001, 5000)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    low, high = sorted((draw(st.integers(0, 12)), draw(st.integers(0, 12))))
    return Spec(
        min_replicas=low,
        max_replicas=high,
        concurrency=draw(st.integers(1, 8)),
        drain_seconds=draw(st.floats(1, 600)),
        tasks_per_replica=draw(st.none() | st.integers(1, 20)),
        stabilization_seconds=draw(st.sampled_from([0, 60])),
        cooldown_seconds=draw(st.sampled_from([0, 120])),
        fallback_replicas=draw(st.none() | st.integers(0, 12)),
    )


@st.composite
def queues(draw: st.DrawFn) -> Queue:
    length = draw(counts)
    return Queue(
        queue_length=length,
        queue_length_retries=draw(st.integers(0, length)),
        running=draw(counts),
        due_soon=draw(few),
        arrivals_per_minute=draw(minutes),
        completions_per_minute=draw(minutes),
        retries_per_minute=draw(minutes),
        crashes_per_minute=draw(minutes),
        service_seconds_mean=draw(st.none() | seconds),
        arrivals_total=draw(counts),
        completions_total=draw(counts),
        service_seconds_total=draw(seconds),
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    numbers = range(draw(st.integers(0, 12)))
    pods = tuple(
        Pod(
            f"p{number}",
            started=draw(mostly),
            ready=draw(mostly),
            started_at=draw(st.none() | st.just(START - 10) | st.just(START - 1000)),
        )
        for number in numbers
    )
    workers = []
    for pod in pods:
        # Also in pods that the kubelet has not told to run yet.
        if not draw(mostly):
            continue
        busy, draining = draw(st.sampled_from([0, 0, 1, 5])), draw(st.booleans())
        workers.append(
            Worker(
                id=f"w-{pod.name}",
                pod=pod.name,
                concurrency=5,
                busy_slots=busy,
                draining=draining,
                drained=draining and busy == 0 and draw(mostly),
                expected_free_seconds=draw(st.none() | seconds),
            )
        )
    reading = Reading(
        at=START + draw(st.integers(-60, 60)),
        epoch=draw(st.sampled_from(["e1", "e2"])),
        queues={"a": draw(queues()), "b": draw(queues())},
        workers=tuple(workers),
    )
    return Observation(
        reading=draw(st.just(reading) | st.just(Unread(Reason.STATS_UNAVAILABLE, "HTTP 503"))),
        at=START,
        replicas=max(len(pods) + draw(st.sampled_from([0, 0, 0, -2, -1, 1, 5])), 0),
        pods=pods,
        rolling_out=draw(st.booleans()),
        paused=draw(st.integers(0, 9)) == 0,
    )


sequences = st.lists(st.tuples(observations(), st.sampled_from([1, 1, 5, 70, 200])), max_size=6)


def aged(pods: tuple[Pod, ...], seconds: float) -> tuple[Pod, ...]:
    """The pods as if the first look were so much later."""
    return tuple(
        replace(pod, started_at=pod.started_at and pod.started_at + seconds) for pod in pods
    )


def workers_of(observation: Observation) -> tuple[Worker, ...]:
    reading = observation.reading
    return reading.workers if isinstance(reading, Reading) else ()


def may_be_taken(observation: Observation) -> set[str]:
    """The pods whose workers have acknowledged, or that cannot have had one yet."""
    drained = {worker.pod for worker in workers_of(observation) if worker.drained}
    reporting = {worker.pod for worker in workers_of(observation)}
    return {
        pod.name
        for pod in observation.pods
        if pod.name in drained or (not pod.started and pod.name not in reporting)
    }


def play(
    spec: Spec,
    steps: list[tuple[Observation, int]],
    check: Callable[[Observation, History, Decision], None],
) -> None:
    """Decides each step, from what the steps before left, and checks it."""
    now, history = START, History()
    for observation, passed in steps:
        now += passed
        reading = observation.reading
        observation = replace(observation, at=now, pods=aged(observation.pods, now - START))
        if isinstance(reading, Reading):
            observation = replace(
                observation, reading=replace(reading, at=reading.at + now - START)
            )
        decision, after = decide(observation, history, spec, now)
        check(observation, history, decision)
        history = after


@settings(max_examples=60)
@given(specs(), sequences)
def test_the_target_is_always_within_the_bounds(
    spec: Spec, steps: list[tuple[Observation, int]]
) -> None:
    def check(_: Observation, __: History, decision: Decision) -> None:
        assert spec.min_replicas <= decision.target <= spec.max_replicas
        assert decision.written >= decision.target
        if decision.written > spec.max_replicas:
            assert decision.limited

    play(spec, steps, check)


@settings(max_examples=100)
@given(sequences, st.integers(0, 4))
def test_what_is_written_is_never_below_the_workers_that_have_not_acknowledged(
    steps: list[tuple[Observation, int]], target: int
) -> None:
    def check(observation: Observation, _: History, decision: Decision) -> None:
        workers = workers_of(observation)
        allowed = may_be_taken(observation)
        may_go = len(allowed)
        at_work = {worker.pod for worker in workers if not worker.drained}
        assert decision.written >= observation.replicas - may_go
        assert decision.written >= len(observation.pods) - may_go or (
            decision.written >= observation.replicas
        )
        for pod, cost in decision.deletion_costs.items():
            assert (cost < 0) <= (pod in allowed)
            assert (cost < 0) <= (pod not in at_work)

    play(Spec(min_replicas=target, max_replicas=target), steps, check)


# A pod that is ready and yet runs nothing contradicts itself: it may have a worker by now.
CONTRADICTING = Observation(
    reading=Reading(at=START, epoch="e1", queues={}, workers=()),
    at=START,
    replicas=1,
    pods=(Pod("p0", started=False, started_at=START - 10),),
)


@example(CONTRADICTING, 0)
@settings(max_examples=400)
@given(observations(), st.integers(0, 4))
def test_a_replica_set_takes_only_who_may_go(observation: Observation, target: int) -> None:
    spec = Spec(min_replicas=target, max_replicas=target)
    decision, _ = decide(observation, History(), spec, START)
    if decision.written >= observation.replicas or not decision.act:
        return
    # As it ranks them: what is not ready, of that what never ran first; then what costs least.
    ranked = sorted(
        observation.pods,
        key=lambda pod: (pod.ready, pod.ready or pod.started, decision.deletion_costs[pod.name]),
    )
    workers = workers_of(observation)
    stays = {worker.pod for worker in workers if worker.id not in decision.drain}
    allowed = may_be_taken(observation) - stays
    for pod in ranked[: max(len(ranked) - decision.written, 0)]:
        # Only its age tells one that never registers from one that is about to.
        old = pod.started_at is None or START - pod.started_at > REGISTERS_SECONDS
        unheard = pod.name not in {worker.pod for worker in workers}
        assert old or not unheard
        assert pod.name in allowed or (unheard and not pod.ready)


@settings(max_examples=60)
@given(specs(), sequences)
def test_a_missing_reading_never_makes_it_smaller(
    spec: Spec, steps: list[tuple[Observation, int]]
) -> None:
    def check(observation: Observation, history: History, decision: Decision) -> None:
        if isinstance(observation.reading, Reading):
            return
        assert decision.written >= observation.replicas
        assert (decision.drain, decision.undrain) == ((), ())
        if observation.replicas == history.written:
            assert decision.target >= min(history.target, spec.max_replicas)

    play(spec, steps, check)


@settings(max_examples=60)
@given(specs(), sequences)
def test_never_so_many_drain_that_fewer_than_the_target_claim(
    spec: Spec, steps: list[tuple[Observation, int]]
) -> None:
    def check(observation: Observation, _: History, decision: Decision) -> None:
        reading = observation.reading
        if not isinstance(reading, Reading):
            return
        registered = len(reading.workers)
        # Those that a smaller size has taken before end anyhow, whatever is wanted now.
        going = max(len(observation.pods) - observation.replicas, 0)
        least = min(decision.target, max(registered - going, 0))
        assert registered - len(decision.drain) >= least
        assert not set(decision.drain) & set(decision.undrain)
        if observation.rolling_out:
            assert decision.drain == ()
            assert decision.written >= observation.replicas
        left = {worker.id for worker in reading.workers if worker.draining} - set(decision.drain)
        if decision.reason is not Reason.STATS_STALE:
            assert decision.reason is Reason.PAUSED or left == set(decision.undrain)

    play(spec, steps, check)


@given(specs(), observations())
def test_the_same_is_decided_from_the_same(spec: Spec, observation: Observation) -> None:
    assert decide(observation, History(), spec, START) == decide(
        observation, History(), spec, START
    )


known_rates = st.builds(
    lambda first, again, service: QueueRates(
        attempts_per_second=first + again, first_attempts_per_second=first, service_seconds=service
    ),
    st.floats(0, 100),
    st.floats(0, 100),
    st.none() | seconds,
)


@given(specs(), queues(), queues(), known_rates, known_rates, st.integers(1, 8))
def test_there_are_never_more_slots_than_there_is_work(
    spec: Spec, a: Queue, b: Queue, rates_a: QueueRates, rates_b: QueueRates, c: int
) -> None:
    asked = load({"a": a, "b": b}, {"a": rates_a, "b": rates_b}, spec, c)
    demand = sum(queue.queue_length + queue.running + queue.due_soon for queue in (a, b))
    assert asked.demand == demand
    assert c * asked.wanted <= demand + c - 1
    assert (asked.wanted == 0) == (demand == 0)
    assert asked.wanted <= asked.kept
    assert c * asked.kept <= demand + c - 1


@given(specs(), queues(), known_rates, st.integers(1, 8), st.integers(1, 50), st.floats(0, 50))
def test_more_first_attempts_never_want_fewer_workers(
    spec: Spec, queue: Queue, rates: QueueRates, c: int, more: int, faster: float
) -> None:
    more_work = replace(queue, queue_length=queue.queue_length + more)
    more_often = replace(
        rates,
        attempts_per_second=rates.attempts_per_second + faster,
        first_attempts_per_second=rates.first_attempts_per_second + faster,
    )
    before = load({"tasks": queue}, {"tasks": rates}, spec, c).wanted
    assert load({"tasks": more_work}, {"tasks": rates}, spec, c).wanted >= before
    assert load({"tasks": more_work}, {"tasks": more_often}, spec, c).wanted >= before


@settings(max_examples=30)
@given(st.integers(1, 40), st.floats(0.1, 20), st.integers(1, 8))
def test_a_constant_load_never_flaps(per_second: int, service: float, c: int) -> None:
    spec = Spec(max_replicas=500, concurrency=c)
    history, sizes, replicas = History(), [], 0
    for second in range(1, 301):
        done = max(per_second * (second - int(service)), 0)
        queue = Queue(
            running=per_second * second - done,
            arrivals_total=per_second * second,
            completions_total=done,
            service_seconds_total=done * service,
        )
        observation = Observation(
            reading=Reading(at=START + second, epoch="e1", queues={"tasks": queue}, workers=()),
            at=START + second,
            replicas=replicas,
            pods=(),
        )
        decision, history = decide(observation, history, spec, START + second)
        replicas = decision.written
        sizes.append(decision.target)
    turns = [
        second
        for second in range(2, len(sizes))
        if (sizes[second] - sizes[second - 1]) * (sizes[second - 1] - sizes[second - 2]) < 0
    ]
    assert turns == []
    assert len(set(sizes[150:])) == 1

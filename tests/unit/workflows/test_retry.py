"""`catch.retry` (DSL reference, "Retry"): how often, how long after, and which errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headrace.workflows import DefinitionError, RunCompleted, Workflow
from tests.unit.workflows.harness import START, Bench, Saved, define
from tests.unit.workflows.web import Web, json

TYPE = "https://example.com/errors/busy"
FAILS = {"fails": {"raise": {"error": {"type": TYPE, "status": 503, "detail": "${ .who }"}}}}
COUNT = {"count": {"set": "${ . }", "export": {"as": "{n: ($context.n + 1)}"}}}
DO = [{"handle": {"set": {"gave": "up"}}}]


def retrying(retry: Any, *steps: Any, use: Any = None, **catch: Any) -> Workflow:
    """Steps that fail each time, or these, and how they are retried. Counts the attempts."""
    attempt = {"try": [COUNT, *(steps or [FAILS])], "catch": {"retry": retry, **catch}}
    more = {"use": use} if use is not None else {}
    output = {"as": "{out: ., attempts: $context.n}"}
    return define(
        [{"attempt": attempt}], output=output, input={"from": "{n: 0, who: .who}"}, **more
    )


async def waits(bench: Bench, workflow: Workflow) -> tuple[list[float], Any]:
    """The seconds between the attempts, and what came out."""
    output = await bench.output(workflow, {"who": "me"})
    return bench.slept, output


def limit(count: Any, **more: Any) -> Any:
    return {"attempt": {"count": count}, **more}


async def test_count_is_the_number_of_retries_after_the_first_execution(bench: Bench) -> None:
    slept, output = await waits(bench, retrying({"delay": "PT5S", "limit": limit(3)}, do=DO))
    assert slept == [5, 5, 5]
    assert output == {"out": {"gave": "up"}, "attempts": 4}


async def test_without_do_the_input_passes_when_the_retries_are_used_up(bench: Bench) -> None:
    slept, output = await waits(bench, retrying({"delay": "PT5S", "limit": limit(0)}))
    assert slept == []
    assert output == {"out": {"n": 0, "who": "me"}, "attempts": 1}


async def test_a_retry_that_succeeds_ends_the_task(bench: Bench) -> None:
    step = {"fails": FAILS["fails"] | {"if": "$context.n < 3"}}
    catch = {"do": DO, "then": "end"}
    slept, output = await waits(bench, retrying({"delay": "PT5S"}, step, **catch))
    assert (slept, output["attempts"]) == ([5, 5], 3)
    assert output["out"] == {"n": 0, "who": "me"}


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        ({"constant": {}}, [60, 60, 60, 60, 60, 60, 60, 60]),
        ({"linear": {}}, [60, 120, 180, 240, 300, 360, 420, 480]),
        ({"exponential": {}}, [60, 120, 240, 480, 960, 1920, 3600, 3600]),
    ],
)
async def test_the_delay_grows_as_the_back_off_says(
    bench: Bench, backoff: Any, expected: list[float]
) -> None:
    policy = {"delay": {"minutes": 1}, "backoff": backoff, "limit": limit(8)}
    assert (await waits(bench, retrying(policy)))[0] == expected


async def test_a_delay_over_the_ceiling_stays_as_it_is(bench: Bench) -> None:
    policy = {"delay": {"hours": 2}, "backoff": {"exponential": {}}, "limit": limit(2)}
    assert (await waits(bench, retrying(policy)))[0] == [7200, 7200]


async def test_a_hundred_exponential_retries_are_no_more_than_a_number(bench: Bench) -> None:
    policy = {"delay": {"milliseconds": 1}, "backoff": {"exponential": {}}, "limit": limit(100)}
    slept, _ = await waits(bench, retrying(policy))
    assert slept[-1] == 3600


@pytest.mark.parametrize(("random", "added"), [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0)])
async def test_jitter_adds_a_random_time(bench: Bench, random: float, added: float) -> None:
    bench.random = lambda: random
    policy = {
        "delay": {"seconds": 10},
        "jitter": {"from": {"seconds": 1}, "to": "PT3S"},
        "limit": limit(1),
    }
    assert (await waits(bench, retrying(policy)))[0] == [10 + added]


async def test_no_retry_begins_after_the_limit_of_all(bench: Bench) -> None:
    policy = {"delay": {"seconds": 10}, "limit": {"duration": {"seconds": 35}}}
    slept, output = await waits(bench, retrying(policy, do=DO))
    assert slept == [10, 10, 10]
    assert output == {"out": {"gave": "up"}, "attempts": 4}


async def test_an_attempt_that_takes_too_long_is_retried(bench: Bench) -> None:
    slow = {"slow": {"wait": {"seconds": 30}, "if": "$context.n < 3"}}
    policy = {"delay": "PT1S", "limit": {"attempt": {"duration": {"seconds": 4}}}}
    slept, output = await waits(bench, retrying(policy, slow))
    assert slept == [4, 1, 4, 1]
    assert output["attempts"] == 3
    caught = retrying({**policy, "limit": limit(0) | {"attempt": {"duration": "PT4S", "count": 0}}},
                      {"slow": {"wait": {"seconds": 30}}},
                      do=[{"h": {"set": {"at": "${ $error.instance }"}}}])  # fmt: skip
    assert (await bench.output(caught))["out"] == {"at": "/do/0/attempt/try"}


@pytest.mark.parametrize(
    ("condition", "attempts"),
    [
        ({"when": ".status == 503"}, 3),
        ({"when": "$error.detail == $input.who"}, 3),
        ({"when": ".status == 500"}, 1),
        ({"exceptWhen": ".status == 503"}, 1),
        ({"exceptWhen": ".status == 500"}, 3),
    ],
)
async def test_conditions_decide_whether_an_error_is_retried(
    bench: Bench, condition: Any, attempts: int
) -> None:
    policy = {"delay": "PT1S", "limit": limit(2), **condition}
    workflow = retrying(policy, do=DO)
    assert (await waits(bench, workflow))[1] == {"out": {"gave": "up"}, "attempts": attempts}


async def test_what_is_not_caught_is_not_retried(bench: Bench) -> None:
    policy = {"delay": "PT1S", "limit": limit(2)}
    error = await bench.error(retrying(policy, errors={"with": {"status": 404}}), {"who": "me"})
    assert error.status == 503
    assert bench.slept == []


async def test_a_policy_of_use_is_named_and_its_numbers_may_be_expressions(bench: Bench) -> None:
    policies = {
        "patient": {
            "delay": '${ "PT\\(2)S" }',
            "limit": limit("${ $error.status - 501 }", duration="${ {hours: 1} }"),
            "jitter": {"from": "${ {seconds: 1} }", "to": "PT1S"},
        }
    }  # fmt: skip
    slept, output = await waits(bench, retrying("patient", use={"retries": policies}))
    assert (slept, output["attempts"]) == ([3, 3], 3)


async def test_a_count_that_is_no_number_is_an_error_of_its_own(bench: Bench) -> None:
    error = await bench.error(retrying({"limit": limit('${ "3" }')}), {"who": "me"})
    assert error.detail == "`count` must be a whole number of retries, not '3'"


async def test_a_retry_parks_and_goes_on_where_it_was(bench: Bench) -> None:
    """The jitter is drawn once: what the run waits for does not change when it is asked again."""
    bench.can_park = True
    policy = {"delay": "PT10S", "jitter": {"from": "PT0S", "to": "PT8S"}, "limit": limit(2)}
    workflow = retrying(policy, do=DO)
    outcome, parks = await bench.execute(workflow, {"who": "me"}), []
    while not isinstance(outcome, RunCompleted):
        assert outcome.unpark_at is not None
        parks.append(outcome.unpark_at - START)
        bench.clock, bench.random = outcome.unpark_at, (lambda: 0.25)
        outcome = await bench.execute(workflow, {"who": "me"}, bench.saved)
    assert parks == [timedelta(seconds=14), timedelta(seconds=26)]
    assert outcome.output == {"out": {"gave": "up"}, "attempts": 3}


async def test_the_thousandth_retry_costs_what_the_first_did(bench: Bench) -> None:
    bench.can_park = True
    workflow, saved, sizes = retrying({"delay": {"seconds": 30}}), None, []
    for _ in range(1000):
        saved = await bench.parked(workflow, {}, saved)
        assert saved.state is not None
        assert saved.journal == ()
        sizes.append(len(saved.state))
        assert bench.unpark_at is not None
        bench.clock = bench.unpark_at
    assert max(sizes) - min(sizes) < 100


@pytest.mark.parametrize(
    ("retry", "reason"),
    [
        ({}, "this would retry at once and for ever: give `delay`, or `limit`"),
        ("patient", "`use.retries` has no retry policy named 'patient'"),
        ({"delay": "5 s"}, "'5 s' is not an ISO 8601 duration such as PT1M30S"),
        ({"delay": "PT1S", "limits": {}}, "unknown key 'limits' in `retry`. Did you mean 'limit'?"),
        ({"limit": {"attempt": {"counts": 1}}},
         "unknown key 'counts' in `attempt`. Did you mean 'count'?"),
        ({"limit": limit(-1)},
         "`count` must be a whole number of retries, or an expression, not -1"),
        ({"limit": limit(1.5)},
         "`count` must be a whole number of retries, or an expression, not 1.5"),
        ({"limit": limit("three")}, "`count` must be one expression ${ … }, on one line"),
        ({"limit": limit(1), "backoff": {"linear": {}}},
         "`backoff` grows from a `delay`: give one beside it"),
        ({"delay": "PT1S", "backoff": {}},
         "`backoff` must hold one of constant, linear, exponential"),
        ({"delay": "PT1S", "backoff": {"linear": {}, "constant": {}}},
         "`backoff` must hold one of constant, linear, exponential"),
        ({"delay": "PT1S", "backoff": {"exponential": {"factor": 2}}},
         "unknown key 'factor' in `exponential`"),
        ({"delay": "PT1S", "jitter": {"from": "PT1S"}}, "`to` is missing in `jitter`"),
        ({"delay": "PT1S", "jitter": {"from": "PT2S", "to": "PT1S"}}, "`from` is longer than `to`"),
        ({"delay": "PT1S", "when": "$e"}, "`when` is not a valid jq expression: $e is not defined "
         "(known here: $context, $error, $input, $runtime, $secrets, $task, $workflow)"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused(retry: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        retrying(retry)
    assert [caught.value.reason, *caught.value.others] == [reason]
    if isinstance(retry, dict):
        with pytest.raises(DefinitionError) as caught:
            define([], use={"retries": {"retry": retry}})
        assert caught.value.reason == reason


class _Crash(Exception):
    """Ends an attempt in the middle."""


@pytest.mark.parametrize("can_park", [True, False])
async def test_a_run_that_crashes_at_any_write_makes_each_call_once_and_waits_for_the_same_moments(
    bench: Bench, web: Web, can_park: bool
) -> None:
    """A failed call is kept as one that succeeded is, and so is a jitter that was drawn."""
    answers = [json({"tea": 1}, 503), json({"tea": 2}, 503), json({"tea": 3})]
    web.routes["/"] = lambda _: answers[len(web.seen) - 1]
    call = {"call": {"call": "http", "with": {"method": "post", "endpoint": f"{web.url}/"}}}
    policy = {
        "delay": "PT10S",
        "backoff": {"linear": {}},
        "jitter": {"from": "PT0S", "to": "PT8S"},
        "limit": limit(5),
    }
    see = {
        "see": {"set": {"got": "${ .tea }", "at": "${ now - $workflow.startedAt.epoch.seconds }"}}
    }
    workflow = define(
        [{"attempt": {"try": [COUNT, call, see], "catch": {"retry": policy}}}],
        output={"as": "{out: ., attempts: $context.n}"},
    )
    bench.can_park = can_park
    writes, crash_at, drawn = 0, 0, 0

    def draw() -> float:
        nonlocal drawn
        drawn += 1
        return 0.5

    async def crash(_saved: Saved) -> None:
        nonlocal writes
        writes += 1
        if writes == crash_at:
            raise _Crash

    bench.on_checkpoint, bench.random = crash, draw

    async def run() -> Any:
        nonlocal writes, drawn
        writes, drawn, bench.clock = 0, 0, START
        web.seen.clear()
        saved = None
        while True:
            try:
                outcome = await bench.execute(workflow, {}, saved)
            except _Crash:
                saved = bench.saved
                continue
            if isinstance(outcome, RunCompleted):
                return outcome.output, len(web.seen), drawn
            assert outcome.unpark_at is not None
            saved, bench.clock = bench.saved, outcome.unpark_at

    expected = await run()
    assert expected == ({"out": {"got": 3, "at": 38}, "attempts": 3}, 3, 2)
    for crash_at in range(1, writes + 1):
        assert await run() == expected, crash_at
    assert crash_at >= (1 if can_park else 3)  # what is written when it parks is not counted

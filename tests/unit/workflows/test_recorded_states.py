"""Runs that release 0.2.0 parked or saved go on as they would have gone on there.

`recorded/states-0.2.0.json` was written by that release: the definition, the state that it saved of
a run with the variables {"n": 1}, when the run went on, how many calls it still made (the n-th call
of a run is answered with {"call": n}, and a retry counts), and how it ended.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headrace.workflows import RunCompleted, RunParked, Runtime, StateError, WorkflowError, parse
from headrace.workflows.errors import ERROR_TYPE_BASE, standard_name
from tests.unit.workflows.harness import Bench, Saved

RECORDED = json.loads((Path(__file__).parent / "recorded" / "states-0.2.0.json").read_bytes())


@pytest.mark.parametrize("run", RECORDED, ids=lambda run: run["name"])
async def test_a_run_of_0_2_0_goes_on(run: dict[str, Any]) -> None:
    calls = 0

    def answer(_request: httpx2.Request) -> httpx2.Response:
        nonlocal calls
        calls += 1
        return httpx2.Response(200, json={"call": 2 + calls})

    runtime = Runtime(transport=httpx2.MockTransport(answer))
    bench = Bench(runtime, can_park=True, clock=datetime.fromisoformat(run["resumed_at"]))
    workflow = parse(json.dumps(run["definition"]).encode(), "sample.json")
    assert workflow.definition_sha256 == run["state"]["workflow"]
    saved = Saved(json.dumps(run["state"]).encode())
    ended: Any = None
    while ended is None:
        try:
            outcome = await bench.execute(workflow, {"n": 1}, saved)
        except WorkflowError as error:
            ended = {"error": error.as_dict()}
            continue
        if isinstance(outcome, RunCompleted):
            ended = {"output": outcome.output}
        else:
            assert isinstance(outcome, RunParked)
            assert outcome.unpark_at is not None
            saved, bench.clock = bench.saved, outcome.unpark_at
    await runtime.close()
    if "error" in run:  # the specification's address has changed since
        run["error"]["type"] = f"{ERROR_TYPE_BASE}{standard_name(run['error']['type'])}"
    assert ended == {key: run[key] for key in ("output", "error") if key in run}
    assert calls == run["calls_after"]


@pytest.mark.parametrize("steps", ["of other names", "more than the run comes to"])
async def test_a_run_of_0_2_0_that_does_not_fit_fails_and_is_not_begun_again(steps: str) -> None:
    run = next(run for run in RECORDED if run["name"] == "in a wait after a call")
    saved = run["state"]["steps"]
    state = dict(run["state"])
    if steps == "of other names":
        state["steps"] = {f"/do/0/renamed{key}": step for key, step in saved.items()}
    else:
        state["steps"] = {**saved, "/do/9/gone": saved["/do/0/first"]}
    made = []
    runtime = Runtime(transport=httpx2.MockTransport(lambda request: made.append(request)))  # type: ignore[arg-type]
    bench = Bench(runtime, can_park=True, clock=datetime.fromisoformat(run["resumed_at"]))
    workflow = parse(json.dumps(run["definition"]).encode(), "sample.json")
    with pytest.raises(StateError, match="submit it again"):
        await bench.execute(workflow, {"n": 1}, Saved(json.dumps(state).encode()))
    await runtime.close()
    assert made == []


async def test_a_small_run_is_saved_so_that_0_2_0_can_go_on_with_it() -> None:
    """The state of a park has what that version reads: the same as it wrote itself."""
    run = next(run for run in RECORDED if run["name"] == "in a wait after a call")

    def answer(_request: httpx2.Request) -> httpx2.Response:
        bench.clock += timedelta(seconds=1)
        return httpx2.Response(200, json={"call": 1})

    runtime = Runtime(transport=httpx2.MockTransport(answer))
    bench = Bench(runtime, can_park=True)
    saved = await bench.parked(
        parse(json.dumps(run["definition"]).encode(), "sample.json"), {"n": 1}
    )
    await runtime.close()
    assert saved.state is not None
    assert saved.journal == ()
    state = json.loads(saved.state)
    mine = {key: state[key] for key in run["state"]}
    assert mine == run["state"] | {"runtime": state["runtime"]}

"""Runs a workflow, or goes on with it from what was saved.

A run goes on from its last snapshot: the steps that had begun and not ended are performed again,
each from where it stood. What the journal says was done since is not done again. All that
expressions can see is taken from both, the time included, so that what is computed again comes out
the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.workflows.model import Workflow
from headrace.workflows.running.branch import Branch, nested_too_deeply
from headrace.workflows.running.environment import Environment
from headrace.workflows.running.parking import GiveUpSlot
from headrace.workflows.running.run import RunCompleted, RunParked, open_run
from headrace.workflows.running.state import ROOT


async def execute(
    workflow: Workflow,
    variables: Any,
    *,
    environment: Environment,
    state: bytes | None = None,
    journal: Sequence[bytes] = (),
) -> RunCompleted | RunParked:
    """Run a workflow, or go on with it from its last snapshot, `state`, and the journal since.

    Raises WorkflowError when the run fails, StateError when what was saved does not fit. Cancelling
    the task that awaits this ends the run where it is.
    """
    run = open_run(workflow, variables, environment, state, journal)
    entries = () if run.saved is None else run.saved.entries
    try:
        return RunCompleted(await Branch(run, ROOT, None, None, run.started_at, entries).workflow())
    except GiveUpSlot:
        assert run.parked is not None
        await run.journal.settle()
        return run.parked
    except RecursionError:
        raise nested_too_deeply() from None
    finally:
        await run.close()

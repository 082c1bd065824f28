"""The task types that come with Headrace. So far `workflow_execute`, which runs a definition.

Which failures are retried: errors of communication that may pass (no connection, 5xx, 408,
425, 429) and time-outs, from the last finished step. What the definition or its input gets wrong
fails at once, and so does a definition that cannot be had.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from headrace.handlers.context import Context
from headrace.handlers.errors import Fatal
from headrace.handlers.outcomes import Park
from headrace.handlers.run_children import RunChildren
from headrace.handlers.task_type import TaskType
from headrace.workflows import (
    Catalog,
    ChildRun,
    DefinitionError,
    Environment,
    RunParked,
    Runtime,
    StateError,
    Workflow,
    WorkflowError,
    execute,
    hyphened,
    parse,
)
from headrace.workflows.running.clock import utc_now

WORKFLOW_EXECUTE = "workflow_execute"
BUILTIN_QUEUES = (WORKFLOW_EXECUTE, "chat_process", "knowledge_search")
"""The queues that stand in the stats from the first day, whether or not a worker serves them."""

WORKFLOW_TIMEOUT_SECONDS = 3600.0
"""For one attempt, from one parking to the next. A definition sets tighter ones itself."""
KEPT_DEFINITIONS = 128


Fetch = Callable[[str], Awaitable[bytes | None]]
"""Brings the text of a pinned definition, by its SHA-256; None: nobody has it."""
Keep = Callable[[bytes], Awaitable[object]]
"""Keeps the text of a definition where `Fetch` finds it."""


class WorkflowRun(BaseModel):
    """Which workflow to run, and with what."""

    workflow_id: str
    variables: dict[str, Any] = {}
    """The workflow's input."""
    definition: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the definition's text at submit; None: the folder's latest."""


def builtin_types(
    catalog: Catalog,
    runtime: Runtime,
    version: str = "",
    fetch: Fetch | None = None,
    keep: Keep | None = None,
    now: Callable[[], datetime] = utc_now,
) -> list[TaskType[Any, Any]]:
    """The built-in task types of a process.

    Args:
        catalog: the definitions of its own folder.
        runtime: what its workflow runs share. Whoever made it closes it.
        version: published with the types.
        fetch: where pinned definitions are looked for that the folder does not hold.
        keep: where those are put that runs pin the runs to that they start.
        now: the time, by which runs wait.
    """
    run = _WorkflowHandler(catalog, runtime, fetch, keep, now)
    types: list[TaskType[Any, Any]] = [
        TaskType(WORKFLOW_EXECUTE, run.execute, timeout_seconds=WORKFLOW_TIMEOUT_SECONDS)
    ]
    for task_type in types:
        task_type.version = version
    return types


class _WorkflowHandler:
    """Runs workflows by their pinned definitions."""

    def __init__(
        self,
        catalog: Catalog,
        runtime: Runtime,
        fetch: Fetch | None,
        keep: Keep | None,
        now: Callable[[], datetime],
    ) -> None:
        self._catalog = catalog
        self._runtime = runtime
        self._fetch = fetch
        self._keep = keep
        self._now = now
        self._parsed: OrderedDict[str, Workflow] = OrderedDict()

    async def execute(self, ctx: Context, payload: WorkflowRun) -> dict[str, Any] | Park:
        """Run a workflow definition with variables, and return its variables."""
        workflow = await self._find(payload)
        environment = Environment(
            runtime=self._runtime,
            run_id=ctx.task_id,
            now=self._now,
            append=ctx.append,
            checkpoint=ctx.checkpoint,
            children=RunChildren(ctx, self._task_of),
            can_park=ctx.can_park,
            progress=ctx.progress,
            limits=self._runtime.limits,
        )
        try:
            ended = await execute(
                workflow,
                payload.variables,
                environment=environment,
                state=ctx.state,
                journal=ctx.journal,
            )
        except WorkflowError as error:
            if error.retryable:
                raise
            raise Fatal(str(error), problem=error.problem) from error
        except StateError as error:
            raise Fatal(f"the run cannot go on: {error}") from error
        if isinstance(ended, RunParked):
            return Park(
                ended.unpark_at,
                ended.state,
                wake_on="inbox" if ended.wakes else None,
                entries=ended.entries,
            )
        return {
            "workflow_id": payload.workflow_id,
            "status": "completed",
            "variables": ended.output,
        }

    async def _task_of(self, run: ChildRun) -> tuple[str, dict[str, Any]]:
        """Task type and payload of the run of a workflow, pinned to the folder's definition."""
        await asyncio.to_thread(self._catalog.refresh)
        workflow = self._catalog.get(run.name, run.version)
        if workflow is None or workflow.namespace != run.namespace:
            version = run.version or "latest"
            raise WorkflowError.standard(
                "configuration",
                f"there is no workflow {run.namespace}/{run.name}, version {version}: defined are "
                f"{', '.join(sorted(self._catalog.workflows)) or 'none'} (WORKFLOWS_DIR)",
            )
        if self._keep is not None:
            await self._keep(workflow.definition)
        payload = {
            "workflow_id": workflow.id,
            "variables": run.variables,
            "definition": workflow.definition_sha256,
        }
        return WORKFLOW_EXECUTE, payload

    async def _find(self, payload: WorkflowRun) -> Workflow:
        """The definition to run: the pinned one, or without a pin the folder's latest."""
        workflow = await self._look_up(payload)
        if workflow.id != hyphened(payload.workflow_id):
            raise Fatal(
                f"the definition that this run of {payload.workflow_id!r} is pinned to is one of "
                f"{workflow.id!r}: submit it again under that name, or without `definition`"
            )
        return workflow

    async def _look_up(self, payload: WorkflowRun) -> Workflow:
        pin = payload.definition
        if pin is None:
            await asyncio.to_thread(self._catalog.refresh)
            latest = self._catalog.get(payload.workflow_id)
            if latest is None:
                raise Fatal(
                    f"there is no workflow {payload.workflow_id!r}: defined are "
                    f"{', '.join(sorted(self._catalog.workflows)) or 'none'} (WORKFLOWS_DIR)"
                )
            return latest
        workflow = self._at_hand(pin)
        if workflow is not None:
            return workflow
        text = None if self._fetch is None else await self._fetch(pin)
        if text is None:
            await asyncio.to_thread(self._catalog.refresh)
            workflow = self._at_hand(pin)
            if workflow is None:
                raise Fatal(
                    f"the definition of {payload.workflow_id!r} that this run is pinned to "
                    f"({pin[:12]}) is neither in Redis nor in WORKFLOWS_DIR: submit it again"
                )
            return workflow
        return await self._read(payload.workflow_id, pin, text)

    def _at_hand(self, pin: str) -> Workflow | None:
        """The pinned definition, if it was read before or is one of the folder's."""
        if pin in self._parsed:
            self._parsed.move_to_end(pin)
            return self._parsed[pin]
        return self._catalog.by_sha256(pin)

    async def _read(self, workflow_id: str, pin: str, text: bytes) -> Workflow:
        if hashlib.sha256(text).hexdigest() != pin:
            raise Fatal(
                f"the definition kept for {workflow_id!r} does not match its SHA-256 ({pin[:12]}): "
                "it was changed in Redis"
            )
        try:
            # In a thread: expressions are compiled in a child process, and waited for.
            workflow = await asyncio.to_thread(
                parse, text, workflow_id, functions=self._catalog.functions
            )
        except DefinitionError as error:
            raise Fatal(
                f"this worker does not support the definition of {workflow_id!r}: {error}"
            ) from error
        self._parsed[pin] = workflow
        while len(self._parsed) > KEPT_DEFINITIONS:
            self._parsed.popitem(last=False)
        return workflow

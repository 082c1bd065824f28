"""`headrace workflow run`: runs a definition here, without Redis and without a server.

Tasks that it starts run in place, by the handlers of installed packages; the runs of other
workflows too, from the definitions in the same folder.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from headrace.client.runtimes import new_runtime
from headrace.handlers import (
    ChildEnd,
    Context,
    FurtherTask,
    Host,
    LifespanFailed,
    Raised,
    Registry,
    Resources,
    Returned,
    SubmitFailed,
    load_functions,
    load_lifespans,
    load_middleware,
    load_registry,
    run_attempt,
)
from headrace.handlers.builtin import WORKFLOW_EXECUTE, builtin_types
from headrace.handlers.run_children import RunChildren
from headrace.logs import configure
from headrace.logs.redaction import hidden
from headrace.settings import WorkerSettings, load
from headrace.workflows import (
    Catalog,
    ChildRun,
    Environment,
    RunCompleted,
    Runtime,
    Workflow,
    WorkflowError,
    check_file,
    execute,
)
from headrace.workflows.model import Scope

EXIT_REFUSED = 1
EXIT_FAILED = 7
EXIT_INTERRUPTED = 130
SHORT = 100
"""Characters of a step's output on its line; `--verbose` shows all of it."""


def main(file: Path, variables: Mapping[str, Any], *, verbose: bool, skip_waits: bool) -> int:
    """Run the definition in a file. Returns the exit status."""
    settings = load(WorkerSettings)
    configure("warning", "console")
    functions = load_functions()
    found, errors = check_file(file, functions)
    for error in errors:
        typer.echo(f"refused  {error}", err=True)
    if errors:
        return EXIT_REFUSED
    runtime = new_runtime(settings.workflows, settings.workflow_limits, settings.evaluation)
    catalog = Catalog.load(file.parent, functions)
    run = _Run(found[0], catalog, runtime, verbose=verbose, skip_waits=skip_waits)
    try:
        return asyncio.run(run.perform(variables))
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        return EXIT_INTERRUPTED


class _Run:
    """One run, shown as it goes."""

    def __init__(
        self,
        workflow: Workflow,
        catalog: Catalog,
        runtime: Runtime,
        *,
        verbose: bool,
        skip_waits: bool,
    ) -> None:
        self._workflow = workflow
        self._catalog = catalog
        self._runtime = runtime
        self._verbose = verbose
        self._skip_waits = skip_waits
        self._skipped = timedelta()
        self._began = time.monotonic()

    async def perform(self, variables: Mapping[str, Any]) -> int:
        registry = load_registry(builtin_types(self._catalog, self._runtime))
        resources = Resources(middleware=load_middleware(), lifespans=load_lifespans())
        run_id = str(uuid.uuid4())
        try:
            await resources.open()
            host = _Host(registry, resources)
            children = RunChildren(Context(run_id, WORKFLOW_EXECUTE, host), self._task_of)
            environment = Environment(
                runtime=self._runtime,
                run_id=run_id,
                now=self._now,
                sleep=self._sleep,
                children=children,
                limits=self._runtime.limits,
                on_end=self._show,
            )
            outcome = await execute(self._workflow, dict(variables), environment=environment)
        except (WorkflowError, LifespanFailed) as error:
            typer.echo(hidden.text(f"failed   {error}"), err=True)
            if isinstance(error, WorkflowError):
                typer.echo(hidden.text(_json(error.as_dict(), indent=2)), err=True)
            return EXIT_FAILED
        finally:
            await resources.close()
            await self._runtime.close()
        assert isinstance(outcome, RunCompleted)
        typer.echo(hidden.text(_json(outcome.output, indent=2)))
        return 0

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._skipped

    async def _sleep(self, seconds: float) -> None:
        if self._skip_waits:
            self._skipped += timedelta(seconds=max(seconds, 0))
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(seconds)

    def _show(self, scope: Scope) -> None:
        """A line for a step that has ended; with `--verbose` its data, too."""
        at = time.monotonic() - self._began
        took = (self._now() - scope.started_at).total_seconds()
        output = hidden.text(_json(scope.output))
        line = f"{at:9.3f} s  {took:8.3f} s  {scope.path}"
        if not self._verbose:
            shown = output if len(output) <= SHORT else output[: SHORT - 1] + "…"
            typer.echo(f"{line}  {shown}", err=True)
            return
        typer.echo(line, err=True)
        for name, text in (("input", hidden.text(_json(scope.input))), ("output", output)):
            typer.echo(f"             {name:<7} {text}", err=True)

    async def _task_of(self, run: ChildRun) -> tuple[str, Any]:
        """Task type and payload of a run of another workflow of the folder."""
        workflow = self._catalog.get(run.name, run.version)
        if workflow is None or workflow.namespace != run.namespace:
            raise WorkflowError.standard(
                "configuration",
                f"there is no workflow {run.namespace}/{run.name}, version "
                f"{run.version or 'latest'}, in {self._catalog.folder}",
            )
        pin = workflow.definition_sha256
        payload = {"workflow_id": workflow.id, "variables": run.variables, "definition": pin}
        return WORKFLOW_EXECUTE, payload


class _Host(Host):
    """Answers for the contexts of the run and of the handlers that it calls."""

    def __init__(self, registry: Registry, resources: Resources) -> None:
        self._registry = registry
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._ends: dict[str, ChildEnd] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    @property
    def values(self) -> Mapping[Any, Any]:
        return self._resources.lifespans.values

    def progress(self, ctx: Context, percent: float, message: str | None) -> None:
        pass

    async def checkpoint(self, ctx: Context, state: bytes, entries: Sequence[bytes]) -> None:
        pass

    async def append(self, ctx: Context, entries: Sequence[bytes]) -> None:
        pass

    async def submit(self, ctx: Context, task: FurtherTask) -> None:
        """Run a child in place, to its end: one attempt."""
        if not task.child:
            raise SubmitFailed("there is no queue to submit to: this run has none")
        task_type = self._registry.get(task.type)
        if task_type is None:
            raise SubmitFailed(
                f"no installed package has a task type {task.type!r}; there are "
                f"{', '.join(sorted(self._registry.by_name))}"
            )
        child = Context(task.id, task.type, self, headers=task.headers, depth=ctx.depth + 1)
        ended = await run_attempt(task_type, task.payload, child, resources=self._resources)
        match ended.outcome:
            case Returned(result):
                self._ends[task.id] = ChildEnd("completed", result)
            case Raised(error, problem=problem):
                self._ends[task.id] = ChildEnd("failed", error=error, problem=problem)
            case _:
                self._ends[task.id] = ChildEnd("cancelled")

    async def child(self, ctx: Context, task_id: str) -> ChildEnd | None:
        if task_id not in self._ends:
            raise LookupError(f"this run has no child {task_id}")
        return self._ends[task_id]

    async def cancel_child(self, ctx: Context, task_id: str) -> None:
        await self.child(ctx, task_id)


def read_variables(pairs: Sequence[str], document: str | None) -> dict[str, Any]:
    """The variables of `--vars` and `--var`. Raises ValueError with a sentence."""
    variables: dict[str, Any] = {}
    if document is not None:
        name = document.removeprefix("@")
        try:
            text = Path(name).read_text(encoding="utf-8") if document.startswith("@") else document
            found = json.loads(text)
        except OSError as error:
            raise ValueError(f"--vars: {name} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"--vars is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError('--vars must be a JSON object, such as {"name": "Ada"}')
        variables |= found
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise ValueError(f"--var {pair}: write name=value")
        try:
            variables[name] = json.loads(text)
        except ValueError:
            variables[name] = text
    return variables


def _json(data: Any, indent: int | None = None) -> str:
    return json.dumps(data, ensure_ascii=False, indent=indent)

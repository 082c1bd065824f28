"""Runs a real worker until nothing is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from headrace import __version__
from headrace.handlers import (
    CallNext,
    Context,
    Handled,
    Lifespan,
    Middleware,
    Registry,
    Resources,
    TaskType,
    load_lifespans,
    load_middleware,
    load_registry,
)
from headrace.settings import WorkerSettings
from headrace.taskqueue import TaskFilter, TaskQueue, TaskStatus
from headrace.testing.installation import TestedInstallation
from headrace_worker.main import worker_info
from headrace_worker.worker import Worker, handler_threads

LOOK_SECONDS = 0.001

WORKFLOW_EXECUTE = "workflow_execute"


@dataclass(frozen=True)
class _Installed:
    types: list[TaskType[Any, Any]]
    middleware: list[Middleware]
    lifespans: list[Lifespan[Any]]
    settings: WorkerSettings


@cache
def _installed() -> _Installed:
    """What installed packages bring: looked for once, for that takes as long as some tests."""
    types = load_registry().types()
    return _Installed(types, load_middleware(), load_lifespans(), WorkerSettings())


class Rounds:
    """The workers of one test: a new one for each call of `run`, as after a deployment."""

    def __init__(self, installation: TestedInstallation) -> None:
        self._installation = installation
        self._served: list[TaskType[Any, Any]] = []
        self.errors: dict[str, BaseException] = {}
        """What the last attempt of a task has raised, by the task's id."""

    def serve(self, task_type: TaskType[Any, Any]) -> None:
        """Run tasks of this type too."""
        self._served.append(task_type)

    async def run(self, timeout_seconds: float) -> None:
        """Run what is due, and what that submits, until nothing is.

        Raises TimeoutError, and LookupError for a task that no handler is there for.
        """
        queue = self._installation.queue
        registry = Registry([*_installed().types, *self._served])
        ends_at = time.monotonic() + timeout_seconds
        while due := await self._due(queue):
            if WORKFLOW_EXECUTE in due and WORKFLOW_EXECUTE not in registry.by_name:
                await self._run_with_workflows(registry, ends_at)
                continue
            unserved = sorted(due.keys() - registry.by_name.keys())
            if unserved:
                raise LookupError(
                    f"there is no handler for {', '.join(unserved)}: name it by "
                    "headrace.serve(…), or install the package that has it as an entry point"
                )
            await self._work(registry, ends_at)

    async def next_due(self) -> datetime | None:
        """When the next task is due; None: none is ever."""
        filter = TaskFilter(status=TaskStatus.PENDING)
        page = await self._installation.queue.list_tasks(filter, limit=200)
        return min((task.due_at for task in page.tasks if task.due_at is not None), default=None)

    async def _due(self, queue: TaskQueue) -> Mapping[str, int]:
        """How many tasks of each type run or could run now."""
        counts = await queue.count_tasks()
        due = {name: it.queued + it.running for name, it in counts.items()}
        if any(it.pending for it in counts.values()):
            filter = TaskFilter(status=TaskStatus.PENDING)
            now = self._installation.now()
            for task in (await queue.list_tasks(filter, limit=200)).tasks:
                if task.due_at is not None and task.due_at <= now:
                    due[task.type] += 1
        return {name: number for name, number in due.items() if number}

    async def _run_with_workflows(self, registry: Registry, ends_at: float) -> None:
        """A round with the task types of workflows. Imported here: most tests have none."""
        from headrace.client.runtimes import new_runtime
        from headrace.handlers import load_functions
        from headrace.handlers.builtin import builtin_types
        from headrace.workflows import Catalog

        settings = WorkerSettings()
        queue = self._installation.queue
        catalog = await asyncio.to_thread(Catalog.load, settings.workflows.dir, load_functions())
        runtime = new_runtime(settings.workflows, settings.workflow_limits, settings.evaluation)
        builtins = builtin_types(
            catalog,
            runtime,
            __version__,
            queue.get_definition,
            queue.put_definition,
            self._installation.now,
        )
        try:
            await self._work(Registry([*builtins, *registry.types()]), ends_at)
        finally:
            await runtime.close()

    async def _work(self, registry: Registry, ends_at: float) -> None:
        """One worker, until nothing is due that it serves."""
        queue, types = self._installation.queue, registry.types()
        info = worker_info(_installed().settings, registry.names())
        resources = Resources(
            threads=handler_threads(info.concurrency),
            middleware=[self._watch, *_installed().middleware],
            lifespans=_installed().lifespans,
        )
        worker = Worker(queue, types, info, resources=resources)
        running = asyncio.ensure_future(worker.run())
        try:
            while not running.done() and not registry.by_name.keys().isdisjoint(
                due := await self._due(queue)
            ):
                if time.monotonic() >= ends_at:
                    worker.stop()  # twice: what runs is handed back
                    raise TimeoutError(f"still to be run: {_described(due)}")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            worker.stop()
            await running

    async def _watch(self, ctx: Context, call_next: CallNext) -> Handled:
        self.errors.pop(ctx.task_id, None)
        try:
            return await call_next()
        except Exception as error:
            self.errors[ctx.task_id] = error
            raise


def _described(due: Mapping[str, int]) -> str:
    return ", ".join(f"{number} × {name}" for name, number in sorted(due.items()))

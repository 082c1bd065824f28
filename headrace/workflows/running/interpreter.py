"""Runs a workflow: the data flow, the order of tasks, and going on from a saved state.

A run is computed from the start each time. What has effects is done once: `once` and `pause` look
into the saved steps first. All that expressions can see is taken from the saved steps too, the time
included, so that what is computed again comes out the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from headrace.workflows.errors import WorkflowError, fail
from headrace.workflows.expressions.child import EvaluationFailed
from headrace.workflows.expressions.templates import NOW, Arguments, Template, evaluate
from headrace.workflows.reading.definition import Workflow
from headrace.workflows.reading.durations import Duration, parse_value
from headrace.workflows.running.environment import Environment
from headrace.workflows.running.state import (
    CallRecord,
    State,
    WaitRecord,
    decode_state,
    encode_state,
    from_ms,
    record_call,
    to_ms,
)
from headrace.workflows.steps.base import Task

MAX_STEPS = 10_000
# Shorter waits, or what a clock that runs ahead leaves of one, are not worth a trip through the
# queue.
MIN_PARK = timedelta(milliseconds=100)
# So many steps without an await that suspends, and the event loop gets a turn.
_STEPS_PER_TURN = 50
_WORKFLOW_INSTANCE = "/"


@dataclass(frozen=True, slots=True)
class Completed:
    """The run is over; `output` is JSON-like data."""

    output: Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run is to go on at `resume_at`, by `execute` with this state."""

    resume_at: datetime
    state: bytes


@dataclass(frozen=True, slots=True)
class Deadline:
    """When something must be over, and what: `instance` is its reference."""

    at: datetime
    after: timedelta
    instance: str

    def passed(self) -> WorkflowError:
        """The error when it was not."""
        seconds = self.after.total_seconds()
        return WorkflowError.standard(
            "timeout", f"it was not over within {seconds:g} s", instance=self.instance
        )


@dataclass(slots=True)
class TaskScope:
    """One execution of a task: its data at each stage, as expressions see it."""

    task: Task
    raw_input: Any
    started_at: datetime
    deadline: Deadline | None
    input: Any = None
    raw_output: Any = None
    output: Any = None


@dataclass(slots=True)
class _Parked(Exception):
    """Unwinds a run that waits."""

    resume_at: datetime


@dataclass(slots=True)
class _Ended(Exception):
    """Unwinds a run that a task ended with `then: end`."""

    output: Any


async def execute(
    workflow: Workflow,
    variables: Any,
    *,
    environment: Environment,
    state: bytes | None = None,
) -> Completed | Waiting:
    """Run a workflow, or go on with it from a saved state.

    Raises WorkflowError when the run fails, StateError when the state does not fit. Cancelling the
    task that awaits this ends the run where it is.
    """
    run = Run(workflow, variables, environment, state)
    try:
        return Completed(await run.perform())
    except _Parked as parked:
        return Waiting(parked.resume_at, encode_state(run.state))
    except RecursionError:
        raise _nested_too_deeply(_WORKFLOW_INSTANCE) from None


@dataclass(slots=True)
class Run:
    """A run under way. Task types use `evaluate`, `sequence`, `once` and `pause`."""

    workflow: Workflow
    variables: Any
    environment: Environment
    saved: bytes | None
    state: State = field(init=False)
    context: Any = None
    # The run's time, which is what expressions see and time-outs are counted from: when the last
    # step with effects ended, or a later attempt went on after it.
    _time: datetime = field(init=False)
    # What it was before each of the saved steps, and how many of these were come to again.
    _run_times: list[int] = field(init=False)
    _used_steps: int = 0
    _steps: int = 0
    _visits: Counter[str] = field(default_factory=Counter)
    _top_done: int = 0

    def __post_init__(self) -> None:
        if self.saved is None:
            now = to_ms(self.environment.now())
            self.state = State(self.workflow.sha256, runtime_version(), now)
        else:
            self.state = decode_state(self.saved, self.workflow.sha256)
        self._run_times = [step.run_time_ms for step in self.state.steps.values()]
        self._time = from_ms((self._run_times or [self.state.started_at_ms])[0])

    async def perform(self) -> Any:
        """The workflow's output."""
        workflow = self.workflow
        data = await self._transform(workflow.input_from, self.variables)
        self.context = data
        deadline = None
        if workflow.timeout is not None:
            after = await self._duration(workflow.timeout, data, None)
            deadline = Deadline(self._time + after, after, _WORKFLOW_INSTANCE)
        try:
            output = await self.sequence(workflow.tasks, data, deadline)
        except _Ended as ended:
            output = ended.output
        return await self._transform(workflow.output_as, output)

    async def sequence(self, tasks: tuple[Task, ...], data: Any, deadline: Deadline | None) -> Any:
        """Perform tasks in the order that their `then` asks for; the last one's output."""
        places = {task.name: index for index, task in enumerate(tasks)}
        index = 0
        while index < len(tasks):
            if tasks is self.workflow.tasks:
                self._top_done = index
            data, then = await self._task(tasks[index], data, deadline)
            if then == "end":
                raise _Ended(data)
            if then == "exit":
                break
            index = index + 1 if then == "continue" else places[then]
        return data

    async def evaluate(self, template: Template, data: Any, scope: TaskScope | None) -> Any:
        """Evaluate a template on `data`. Raises WorkflowError."""
        try:
            return await evaluate(
                template, data, self._arguments(scope), self.environment.runtime.evaluator
            )
        except EvaluationFailed as error:
            instance = _WORKFLOW_INSTANCE if scope is None else scope.task.reference
            name = "timeout" if error.limit == "time" else "expression"
            raise WorkflowError.standard(name, str(error), instance=instance) from None

    async def once(self, effect: Callable[[], Awaitable[Any]], scope: TaskScope) -> Any:
        """Do what has an effect, unless an earlier attempt has done it; its output either way."""
        key = self._key(scope)
        record = self.state.steps.get(key)
        if record is not None:
            assert isinstance(record, CallRecord)
            self._advance(record.ended_at_ms, saved=True)
            return msgspec.json.decode(record.output)
        self._report(scope)
        output = await self._within(effect, scope.deadline)
        record = record_call(output, self.environment.now(), self._time)
        self.state.steps[key] = record
        await self._checkpoint()
        self._advance(record.ended_at_ms, saved=False)
        # As it will be read back, so that a resumed run sees the very same.
        return msgspec.json.decode(record.output)

    async def pause(self, duration: Duration, scope: TaskScope) -> None:
        """Let time pass. The end is fixed when the wait begins, whatever happens to the run."""
        key = self._key(scope)
        record = self.state.steps.get(key)
        saved = record is not None
        if record is None:
            after = await self._duration(duration, scope.input, scope)
            record = WaitRecord(to_ms(self.environment.now() + after), to_ms(self._time))
            self.state.steps[key] = record
        assert isinstance(record, WaitRecord)
        end = from_ms(record.until_ms)
        late = scope.deadline if scope.deadline is not None and scope.deadline.at < end else None
        until = end if late is None else late.at
        await self._sleep_until(until, scope)
        self._advance(to_ms(until), saved=saved)
        if late is not None:
            raise late.passed()

    async def _task(self, task: Task, raw_input: Any, deadline: Deadline | None) -> tuple[Any, str]:
        """Perform one task; its output and what comes next."""
        await self._count_step()
        scope = TaskScope(task, raw_input, self._time, deadline)
        try:
            return await self._task_in(scope)
        except WorkflowError as error:
            if error.instance is None:
                error.instance = task.reference
            raise
        except RecursionError:
            raise _nested_too_deeply(task.reference) from None

    async def _task_in(self, scope: TaskScope) -> tuple[Any, str]:
        task = scope.task
        self._check_deadline(scope.deadline)
        if task.condition is not None:
            met = await self.evaluate(task.condition, scope.raw_input, scope)
            # As in jq: all but false and null is true.
            if met is None or met is False:
                return scope.raw_input, "continue"
        self.environment.on_task(task.reference)
        scope.input = await self._transform(task.input_from, scope.raw_input, scope)
        if task.timeout is not None:
            after = await self._duration(task.timeout, scope.input, scope)
            own = Deadline(scope.started_at + after, after, task.reference)
            if scope.deadline is None or own.at < scope.deadline.at:
                scope.deadline = own
        scope.raw_output = await task.action.perform(self, scope)
        scope.output = await self._transform(task.output_as, scope.raw_output, scope)
        if task.export_as is not None:
            self.context = await self.evaluate(task.export_as, scope.output, scope)
        return scope.output, task.then

    async def _transform(
        self, template: Template | None, data: Any, scope: TaskScope | None = None
    ) -> Any:
        return data if template is None else await self.evaluate(template, data, scope)

    async def _duration(self, duration: Duration, data: Any, scope: TaskScope | None) -> timedelta:
        if duration.template is None:
            assert duration.fixed is not None
            return duration.fixed
        try:
            return parse_value(await self.evaluate(duration.template, data, scope))
        except ValueError as error:
            fail("expression", str(error))

    async def _count_step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            fail("runtime", f"the run took more than {MAX_STEPS} steps: does a `then` never end?")
        if self._steps % _STEPS_PER_TURN == 0:
            await asyncio.sleep(0)

    def _key(self, scope: TaskScope) -> str:
        """Names this execution of a step: a task that `then` leads back to is reached again."""
        reference = scope.task.reference
        self._visits[reference] += 1
        visit = self._visits[reference]
        return reference if visit == 1 else f"{reference}#{visit}"

    def _advance(self, ended_at_ms: int, *, saved: bool) -> None:
        """Let the run's time go on after a step with effects."""
        self._time = max(self._time, from_ms(ended_at_ms))
        if not saved:
            return
        self._used_steps += 1
        if self._live:
            # From here on this attempt is the first: what it does is done now.
            self._time = max(self._time, self.environment.now())
        else:
            self._time = from_ms(self._run_times[self._used_steps])

    @property
    def _live(self) -> bool:
        """Whether what happens now happens for the first time."""
        return self._used_steps >= len(self._run_times)

    def _check_deadline(self, deadline: Deadline | None) -> None:
        if deadline is None:
            return
        # While saved steps remain, this part of the run lies in the past, whatever the clock says.
        now = max(self._time, self.environment.now()) if self._live else self._time
        if now >= deadline.at:
            raise deadline.passed()

    async def _within(self, effect: Callable[[], Awaitable[Any]], deadline: Deadline | None) -> Any:
        if deadline is None:
            return await effect()
        remaining = (deadline.at - self.environment.now()).total_seconds()
        timeout = asyncio.timeout(max(remaining, 0))
        try:
            async with timeout:
                return await effect()
        except TimeoutError:
            if not timeout.expired():
                raise
            raise deadline.passed() from None

    async def _sleep_until(self, until: datetime, scope: TaskScope) -> None:
        remaining = until - self.environment.now()
        if remaining <= timedelta(0):
            return
        if remaining >= MIN_PARK:
            self._report(scope)
            if self.environment.can_park:
                raise _Parked(until)
            await self._checkpoint()
        await self.environment.sleep((until - self.environment.now()).total_seconds())

    async def _checkpoint(self) -> None:
        await self.environment.checkpoint(encode_state(self.state))

    def _report(self, scope: TaskScope) -> None:
        percent = 100 * self._top_done // max(len(self.workflow.tasks), 1)
        self.environment.progress(percent, scope.task.name)

    def _arguments(self, scope: TaskScope | None) -> Arguments:
        return {
            "context": lambda: self.context,
            "input": lambda: None if scope is None else scope.input,
            "output": lambda: None if scope is None else scope.output,
            "task": lambda: None if scope is None else _describe_task(scope),
            "workflow": self._describe_workflow,
            "runtime": lambda: {"name": "headrace", "version": self.state.runtime, "metadata": {}},
            NOW: self._time.timestamp,
        }

    def _describe_workflow(self) -> dict[str, Any]:
        return {
            "id": self.environment.run_id,
            "definition": self.workflow.definition,
            "input": self.variables,
            "startedAt": describe_time(from_ms(self.state.started_at_ms)),
        }


def _nested_too_deeply(instance: str) -> WorkflowError:
    """The error for data that cannot be encoded: a definition's own depth has a limit."""
    reason = "the data is nested too deeply, some 900 levels: flatten it"
    return WorkflowError.standard("runtime", reason, instance=instance)


def _describe_task(scope: TaskScope) -> dict[str, Any]:
    return {
        "name": scope.task.name,
        "reference": scope.task.reference,
        "definition": scope.task.definition,
        "input": scope.raw_input,
        "output": scope.raw_output,
        "startedAt": describe_time(scope.started_at),
    }


def describe_time(moment: datetime) -> dict[str, Any]:
    """The language's description of a time (DSL, "DateTime Descriptor")."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    milliseconds = to_ms(moment)
    return {
        "iso8601": text,
        "epoch": {"seconds": milliseconds // 1000, "milliseconds": milliseconds},
    }


@cache
def runtime_version() -> str:
    """The installed version, for `$runtime`; a source checkout has none."""
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "source"

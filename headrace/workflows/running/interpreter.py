"""Runs a workflow: the data flow, the order of steps, and going on from a saved state.

A run is computed from the start each time. What has effects is done once: `once` and `park` look
into the saved steps first. All that expressions can see is taken from the saved steps too, the time
included, so that what is computed again comes out the same.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from headrace.workflows.errors import WorkflowError, fail
from headrace.workflows.expressions import NOW, EvaluationFailed, evaluate
from headrace.workflows.limits import RunLimits
from headrace.workflows.model import (
    Arguments,
    BranchBody,
    ChildEnd,
    ChildTask,
    Deadline,
    Done,
    Duration,
    HttpSender,
    Scope,
    Step,
    Template,
    Workflow,
    is_true,
)
from headrace.workflows.reading import parse_value
from headrace.workflows.running.clock import RunClock, describe_time, from_ms, to_ms
from headrace.workflows.running.environment import Environment
from headrace.workflows.running.state import (
    CallRecord,
    State,
    WaitRecord,
    decode_state,
    encode_state,
    record_call,
)

MAX_STEPS = 10_000
# Shorter waits, or what a clock that runs ahead leaves of one, are not worth a trip through the
# queue.
MIN_PARK = timedelta(milliseconds=100)
# So many steps without an await that suspends, and the event loop gets a turn.
_STEPS_PER_TURN = 50
_WORKFLOW_INSTANCE = "/"


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The run is over; `output` is JSON-like data."""

    output: Any


@dataclass(frozen=True, slots=True)
class RunParked:
    """The run gives its slot up, to go on at `unpark_at` by `execute` with this state."""

    unpark_at: datetime
    state: bytes


@dataclass(slots=True)
class _GiveUpSlot(Exception):
    """Unwinds a run that parks."""

    unpark_at: datetime


@dataclass(slots=True)
class _Ended(Exception):
    """Unwinds a run that a step ended with `then: end`."""

    output: Any


async def execute(
    workflow: Workflow,
    variables: Any,
    *,
    environment: Environment,
    state: bytes | None = None,
) -> RunCompleted | RunParked:
    """Run a workflow, or go on with it from a saved state.

    Raises WorkflowError when the run fails, StateError when the state does not fit. Cancelling the
    task that awaits this ends the run where it is.
    """
    run = Run(workflow, variables, environment, state)
    try:
        return RunCompleted(await run.perform())
    except _GiveUpSlot as parking:
        return RunParked(parking.unpark_at, encode_state(run.state))
    except RecursionError:
        raise _nested_too_deeply(_WORKFLOW_INSTANCE) from None


@dataclass(slots=True)
class Run:
    """A run under way: the `Flow` of its steps."""

    workflow: Workflow
    variables: Any
    environment: Environment
    saved: bytes | None
    state: State = field(init=False)
    clock: RunClock = field(init=False)
    context: Any = None
    _steps: int = 0
    _visits: Counter[str] = field(default_factory=Counter)
    _top_done: int = 0

    def __post_init__(self) -> None:
        pin = self.workflow.definition_sha256
        now = self.environment.now
        if self.saved is None:
            self.state = State(pin, runtime_version(), to_ms(now()))
        else:
            self.state = decode_state(self.saved, pin)
        times = [step.run_time_ms for step in self.state.steps.values()]
        self.clock = RunClock(now, self.state.started_at_ms, times)

    async def perform(self) -> Any:
        """The workflow's output."""
        workflow = self.workflow
        data = await self._transform(workflow.input_from, self.variables)
        self.context = data
        deadline = None
        if workflow.timeout is not None:
            after = await self._duration(workflow.timeout, data, None)
            deadline = Deadline(self.clock.time + after, after, _WORKFLOW_INSTANCE)
        try:
            output = (await self._sequence(workflow.steps, data, deadline, {}, "/do")).output
        except _Ended as ended:
            output = ended.output
        return await self._transform(workflow.output_as, output)

    @property
    def http(self) -> HttpSender:
        """The process's HTTP client."""
        return self.environment.runtime.http

    @property
    def limits(self) -> RunLimits:
        """What the run may use at most."""
        return self.environment.limits

    def key(self, scope: Scope) -> str:
        """A UUID of the scope's path in this run."""
        return str(uuid.uuid5(uuid.UUID(self.environment.run_id), scope.path))

    async def child(self, task: ChildTask, scope: Scope) -> ChildEnd:
        """Start a task and wait for its end."""
        raise NotImplementedError

    async def branches(
        self,
        count: int,
        body: BranchBody,
        scope: Scope,
        *,
        at_once: int | None = None,
        compete: bool = False,
    ) -> list[Any]:
        """Perform `body` in branches."""
        raise NotImplementedError

    @property
    def time(self) -> datetime:
        """The run's time."""
        return self.clock.time

    def now(self) -> datetime:
        """The clock, not the run's time."""
        return self.clock.now()

    def random(self) -> float:
        """A number from 0 to 1."""
        return self.environment.random()

    async def sequence(self, steps: tuple[Step, ...], data: Any, scope: Scope) -> Done:
        """Perform steps within a step; the last one's output."""
        return await self._sequence(steps, data, scope.deadline, scope.variables, scope.path)

    async def evaluate(self, template: Template, data: Any, scope: Scope | None) -> Any:
        """Evaluate a template on `data`. Raises WorkflowError."""
        try:
            return await evaluate(
                template, data, self._arguments(scope), self.environment.runtime.evaluator
            )
        except EvaluationFailed as error:
            instance = _WORKFLOW_INSTANCE if scope is None else scope.step.reference
            # Also for one that hits a limit: it would do so again.
            raise WorkflowError.standard("expression", str(error), instance=instance) from None

    async def duration(self, duration: Duration, scope: Scope) -> timedelta:
        """How long that is, on the step's input. Raises WorkflowError."""
        return await self._duration(duration, scope.input, scope)

    async def once(self, effect: Callable[[], Awaitable[Any]], scope: Scope) -> Any:
        """Do what has an effect, unless an earlier attempt has done it; its output either way."""
        key = self._key(scope)
        record = self.state.steps.get(key)
        if record is not None:
            assert isinstance(record, CallRecord)
            self.clock.advance(record.ended_at_ms, saved=True)
            return msgspec.json.decode(record.output)
        self._report(scope)
        output = await self._within(effect, scope.deadline)
        record = record_call(output, self.now(), self.clock.time)
        self.state.steps[key] = record
        await self._checkpoint()
        self.clock.advance(record.ended_at_ms, saved=False)
        # As it will be read back, so that a resumed run sees the very same.
        return msgspec.json.decode(record.output)

    async def park(self, until: Callable[[], Awaitable[datetime]], scope: Scope) -> None:
        """Let time pass. The end is fixed when this begins, whatever happens to the run."""
        key = self._key(scope)
        record = self.state.steps.get(key)
        saved = record is not None
        if record is None:
            record = WaitRecord(to_ms(await until()), to_ms(self.clock.time))
            self.state.steps[key] = record
        assert isinstance(record, WaitRecord)
        end = from_ms(record.until_ms)
        late = scope.deadline if scope.deadline is not None and scope.deadline.at < end else None
        until_at = end if late is None else late.at
        await self._sleep_until(until_at, scope)
        self.clock.advance(to_ms(until_at), saved=saved)
        if late is not None:
            raise late.passed()

    async def _sequence(
        self,
        steps: tuple[Step, ...],
        data: Any,
        deadline: Deadline | None,
        variables: Mapping[str, Any],
        base: str,
    ) -> Done:
        """Perform steps in the order that their `then` asks for; the last one's output."""
        places = {step.name: index for index, step in enumerate(steps)}
        index = 0
        while index < len(steps):
            if steps is self.workflow.steps:
                self._top_done = index
            path = "/".join((base, *steps[index].reference.rsplit("/", 2)[-2:]))
            scope = Scope(steps[index], path, data, self.clock.time, deadline, variables)
            done = await self._step(scope)
            data = done.output
            match done.then:
                case "end":
                    raise _Ended(data)
                case "exit":
                    return done
                case "continue" | None:
                    index += 1
                case name:
                    index = places[name]
        return Done(data)

    async def _step(self, scope: Scope) -> Done:
        """Perform one step: its output, and what comes next."""
        await self._count_step()
        try:
            return await self._step_in(scope)
        except WorkflowError as error:
            if error.instance is None:
                error.instance = scope.step.reference
            raise
        except RecursionError:
            raise _nested_too_deeply(scope.step.reference) from None

    async def _step_in(self, scope: Scope) -> Done:
        step = scope.step
        self.clock.check(scope.deadline)
        if step.condition is not None:
            met = await self.evaluate(step.condition, scope.raw_input, scope)
            if not is_true(met):
                return Done(scope.raw_input)
        self.environment.on_step(step.reference)
        scope.input = await self._transform(step.input_from, scope.raw_input, scope)
        if step.timeout is not None:
            after = await self._duration(step.timeout, scope.input, scope)
            own = Deadline(scope.started_at + after, after, step.reference)
            if scope.deadline is None or own.at < scope.deadline.at:
                scope.deadline = own
        done = await step.action.perform(self, scope)
        scope.raw_output = done.output
        scope.output = await self._transform(step.output_as, scope.raw_output, scope)
        if step.export_as is not None:
            self.context = await self.evaluate(step.export_as, scope.output, scope)
        return Done(scope.output, step.then if done.then is None else done.then)

    async def _transform(
        self, template: Template | None, data: Any, scope: Scope | None = None
    ) -> Any:
        return data if template is None else await self.evaluate(template, data, scope)

    async def _duration(self, duration: Duration, data: Any, scope: Scope | None) -> timedelta:
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
            fail(
                "runtime",
                f"the run took more than {MAX_STEPS} steps: does a `then` never end, or does a "
                "`for` have too many rounds?",
            )
        if self._steps % _STEPS_PER_TURN == 0:
            await asyncio.sleep(0)

    def _key(self, scope: Scope) -> str:
        """Names this execution of a step: one that `then` leads back to is reached again."""
        reference = scope.step.reference
        self._visits[reference] += 1
        visit = self._visits[reference]
        return reference if visit == 1 else f"{reference}#{visit}"

    async def _within(self, effect: Callable[[], Awaitable[Any]], deadline: Deadline | None) -> Any:
        if deadline is None:
            return await effect()
        remaining = (deadline.at - self.now()).total_seconds()
        timeout = asyncio.timeout(max(remaining, 0))
        try:
            async with timeout:
                return await effect()
        except TimeoutError:
            if not timeout.expired():
                raise
            raise deadline.passed() from None

    async def _sleep_until(self, until: datetime, scope: Scope) -> None:
        remaining = until - self.now()
        if remaining <= timedelta(0):
            return
        if remaining >= MIN_PARK:
            self._report(scope)
            if self.environment.can_park:
                raise _GiveUpSlot(until)
            await self._checkpoint()
        await self.environment.sleep((until - self.now()).total_seconds())

    async def _checkpoint(self) -> None:
        await self.environment.checkpoint(encode_state(self.state))

    def _report(self, scope: Scope) -> None:
        percent = 100 * self._top_done // max(len(self.workflow.steps), 1)
        self.environment.progress(percent, scope.step.name)

    def _arguments(self, scope: Scope | None) -> Arguments:
        arguments: dict[str, Callable[[], Any]] = {
            "context": lambda: self.context,
            "input": lambda: None if scope is None else scope.input,
            "output": lambda: None if scope is None else scope.output,
            "task": lambda: None if scope is None else _describe_step(scope),
            "workflow": self._describe_workflow,
            "runtime": lambda: {"name": "headrace", "version": self.state.runtime, "metadata": {}},
            NOW: self.clock.time.timestamp,
        }
        if scope is not None:
            for name in scope.variables:
                arguments[name] = partial(scope.variables.get, name)
        return arguments

    def _describe_workflow(self) -> dict[str, Any]:
        return {
            "id": self.environment.run_id,
            "definition": self.workflow.document,
            "input": self.variables,
            "startedAt": describe_time(from_ms(self.state.started_at_ms)),
        }


def _nested_too_deeply(instance: str) -> WorkflowError:
    """The error for data that cannot be encoded: a definition's own depth has a limit."""
    reason = "the data is nested too deeply, some 900 levels: flatten it"
    return WorkflowError.standard("runtime", reason, instance=instance)


def _describe_step(scope: Scope) -> dict[str, Any]:
    return {
        "name": scope.step.name,
        "reference": scope.step.reference,
        "definition": scope.step.document,
        "input": scope.raw_input,
        "output": scope.raw_output,
        "startedAt": describe_time(scope.started_at),
    }


@cache
def runtime_version() -> str:
    """The installed version, for `$runtime`; a source checkout has none."""
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "source"

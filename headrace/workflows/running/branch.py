"""A branch of a run: the data flow, the order of steps, and what steps ask of their run.

Every run begins with one. A branch has a position, a context and a time of its own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from headrace.workflows.errors import WorkflowError, fail
from headrace.workflows.expressions import NOW, EvaluationFailed, evaluate, validate
from headrace.workflows.limits import RunLimits
from headrace.workflows.model import (
    Arguments,
    BranchBody,
    ChildEnd,
    ChildRun,
    ChildTask,
    Deadline,
    Done,
    Duration,
    Entry,
    HttpSender,
    Schema,
    Scope,
    Step,
    Template,
    is_true,
)
from headrace.workflows.reading import parse_value
from headrace.workflows.running.clock import describe_time, from_ms, to_ms
from headrace.workflows.running.fork import Ended, Fork
from headrace.workflows.running.parking import MIN_PARK, Block
from headrace.workflows.running.past import NULL, Position, raised
from headrace.workflows.running.run import Run, StepFrame
from headrace.workflows.running.state import SequenceState, StepState, load_deadline

_WORKFLOW_INSTANCE = "/"


class Branch(Position):
    """The `Flow` of a branch's steps."""

    @property
    def http(self) -> HttpSender:
        """The process's HTTP client."""
        return self.run.environment.runtime.http

    @property
    def limits(self) -> RunLimits:
        """What the run may use at most."""
        return self.run.environment.limits

    def now(self) -> datetime:
        """The clock, not the branch's time."""
        return self.run.environment.now()

    def random(self) -> float:
        """A number from 0 to 1."""
        return self.run.environment.random()

    def key(self, scope: Scope) -> str:
        """A UUID of the scope's path in this run."""
        return str(uuid.uuid5(uuid.UUID(self.run.environment.run_id), scope.path))

    async def workflow(self) -> Any:
        """Perform the whole workflow: its output."""
        run, workflow = self.run, self.run.workflow
        data = None
        if run.began:
            assert run.saved is not None
            run.deadline = load_deadline(run.saved.snapshot.deadline)
        else:
            await self._validate(workflow.input_schema, run.variables)
            data = await self._transform(workflow.input_from, run.variables)
            self.context = data
            if workflow.timeout is not None:
                after = await self._duration(workflow.timeout, data, None)
                run.deadline = Deadline(self.time + after, after, _WORKFLOW_INSTANCE)
        try:
            done = await self._sequence(workflow.steps, data, "/do", run.deadline, {})
            output = done.output
        except Ended as ended:
            output = ended.output
        output = await self._transform(workflow.output_as, output)
        await self._validate(workflow.output_schema, output)
        run.ended()
        return output

    async def sequence(self, steps: tuple[Step, ...], data: Any, scope: Scope) -> Done:
        """Perform steps within a step; the last one's output."""
        return await self._sequence(steps, data, scope.path, scope.deadline, scope.variables)

    async def evaluate(self, template: Template, data: Any, scope: Scope | None) -> Any:
        """Evaluate a template on `data`. Raises WorkflowError."""
        try:
            return await evaluate(
                template, data, self._arguments(scope), self.run.environment.runtime.evaluator
            )
        except EvaluationFailed as error:
            instance = _WORKFLOW_INSTANCE if scope is None else scope.step.reference
            # Also where a limit was hit, that of time too: it would be hit again.
            detail = self.run.secrets.redactor.text(str(error))
            raise WorkflowError.standard("expression", detail, instance=instance) from None

    async def duration(self, duration: Duration, scope: Scope) -> timedelta:
        """How long that is, on the step's input. Raises WorkflowError."""
        return await self._duration(duration, scope.input, scope)

    async def once(self, effect: Callable[[], Awaitable[Any]], scope: Scope) -> Any:
        """Do what has an effect, unless an earlier attempt has done it; its output either way."""
        past, path = self.past, scope.path
        entry = past.find(scope, "call")
        saved = entry is not None
        if entry is None:
            await self._store_failures()
            self.run.report(scope)
            redactor = self.run.secrets.redactor
            try:
                output = redactor.data(await self._within(effect, scope.deadline))
                entry = past.success(path, "call", output)
                self._check_size(len(entry.value), "what the task did returned")
            except WorkflowError as error:
                shown = error.redacted(redactor)
                shown.instance = error.instance or scope.step.reference
                entry = past.failure(path, "call", shown)
                past.fail(entry)
                past.advance(path, entry.ended_ms, saved=False)
                raise shown from None
            past.record(entry, scope)
            await self.run.journal.write()
        past.advance(path, entry.ended_ms, saved=saved)
        if not entry.ok:
            raise raised(entry)
        # As it will be read back, so that a resumed run sees the very same.
        return msgspec.json.decode(entry.value)

    async def park(self, until: Callable[[], Awaitable[datetime]], scope: Scope) -> None:
        """Let time pass. The end is fixed when this begins, whatever happens to the run."""
        past = self.past
        entry = past.find(scope, "wait")
        saved = entry is not None
        if entry is None:
            end = to_ms(await until())
            entry = Entry(scope.path, "wait", True, NULL, to_ms(self.time), end)
            past.record(entry, scope)
        end_at = from_ms(entry.ended_ms)
        deadline = scope.deadline
        late = deadline if deadline is not None and deadline.at < end_at else None
        until_at = end_at if late is None else late.at
        await self._wait(Block(until_at), scope)
        past.advance(scope.path, to_ms(until_at), saved=saved)
        if late is not None:
            raise late.passed()

    async def child(self, task: ChildTask | ChildRun, scope: Scope) -> ChildEnd:
        """Start a task, once for this path, and wait for its end."""
        past, path = self.past, scope.path
        entry = past.find(scope, "child")
        saved = entry is not None
        if entry is None:
            await self._store_failures()
            self.run.report(scope)
            try:
                entry = past.success(path, "child", await self._end_of(task, scope))
            except WorkflowError as error:
                error.instance = error.instance or scope.step.reference
                entry = past.failure(path, "child", error)
                past.fail(entry)
                past.advance(path, entry.ended_ms, saved=False)
                raise
            past.record(entry, scope)
            await self.run.journal.write()
        past.advance(path, entry.ended_ms, saved=saved)
        if not entry.ok:
            raise raised(entry)
        return msgspec.json.decode(entry.value, type=ChildEnd)

    async def branches(
        self,
        count: int,
        body: BranchBody,
        scope: Scope,
        *,
        at_once: int | None = None,
        compete: bool = False,
    ) -> list[Any]:
        """Perform `body` in branches; their outputs."""
        at_once = count if at_once is None else min(at_once, count)
        if at_once > self.limits.max_branches:
            self.limits.exceeded(
                "max_branches", f"{at_once} branches are to run at once", "let fewer run at once"
            )

        def begin(
            number: int, path: str, entries: Iterable[Entry]
        ) -> tuple[Branch, Callable[[], Awaitable[Done]]]:
            branch = Branch(self.run, path, self, self.context, self.time, entries)
            return branch, partial(body, branch, number)

        return await Fork(self, count, begin, scope.path, at_once, compete).perform()

    async def _sequence(
        self,
        steps: tuple[Step, ...],
        data: Any,
        path: str,
        deadline: Deadline | None,
        variables: Mapping[str, Any],
    ) -> Done:
        """Perform steps in the order that their `then` asks for; the last one's output."""
        run = self.run
        state = run.restored.sequences.pop(path, SequenceState(0, data))
        run.sequences[path] = state
        places = {step.name: index for index, step in enumerate(steps)}
        visits = state.visits
        try:
            while state.index < len(steps):
                step = steps[state.index]
                place = f"{path}/{state.index}/{step.reference.rpartition('/')[2]}"
                visit = visits.get(step.name, 0) + 1
                if visit > 1:
                    place = f"{place}#{visit}"
                scope = Scope(step, place, state.data, self.time, deadline, variables)
                done = await self._step(scope)
                state.data = done.output
                visits[step.name] = visit
                match done.then:
                    case "end":
                        raise Ended(done.output)
                    case "exit":
                        return done
                    case "continue" | None:
                        state.index += 1
                    case name:
                        state.index = places[name]
        finally:
            del run.sequences[path]
        return Done(state.data)

    async def _step(self, scope: Scope) -> Done:
        """Perform one step: its output, and what comes next."""
        try:
            saved = self.run.restored.steps.pop(scope.path, None)
            if saved is None:
                await self.run.count_step()
                around, done = scope.deadline, None
                if not await self._enter(scope):
                    return Done(scope.raw_input)
            else:
                around, done = _restore(scope, saved)
                self.run.environment.on_step(scope.step.reference)
            return await self._perform(StepFrame(scope, around, done))
        except WorkflowError as error:
            if error.instance is None:
                error.instance = scope.step.reference
            raise
        except RecursionError:
            raise nested_too_deeply(scope.step.reference) from None

    async def _enter(self, scope: Scope) -> bool:
        """What comes before the action. Returns whether the step is performed."""
        step = scope.step
        self.past.check(scope.deadline, scope.path)
        if step.condition is not None:
            met = await self.evaluate(step.condition, scope.raw_input, scope)
            if not is_true(met):
                return False
        self.run.environment.on_step(step.reference)
        await self._validate(step.input_schema, scope.raw_input, scope)
        scope.input = await self._transform(step.input_from, scope.raw_input, scope)
        if step.timeout is not None:
            after = await self._duration(step.timeout, scope.input, scope)
            own = Deadline(scope.started_at + after, after, step.reference)
            if scope.deadline is None or own.at < scope.deadline.at:
                scope.deadline = own
        return True

    async def _perform(self, frame: StepFrame) -> Done:
        """The action, and what comes after it."""
        scope = frame.scope
        step = scope.step
        self.run.steps[scope.path] = frame
        try:
            if frame.done is None:
                frame.done = await step.action.perform(self, scope)
            done = frame.done
            scope.raw_output = done.output
            scope.output = await self._transform(step.output_as, scope.raw_output, scope)
            await self._validate(step.output_schema, scope.output, scope)
            if step.export_as is not None:
                context = await self.evaluate(step.export_as, scope.output, scope)
                await self._validate(step.export_schema, context, scope)
                self.context = context
                self.exported = True
        finally:
            del self.run.steps[scope.path]
        self.run.environment.on_end(scope)
        return Done(scope.output, step.then if done.then is None else done.then)

    async def _transform(
        self, template: Template | None, data: Any, scope: Scope | None = None
    ) -> Any:
        return data if template is None else await self.evaluate(template, data, scope)

    async def _validate(self, schema: Schema | None, data: Any, scope: Scope | None = None) -> None:
        if schema is not None:
            instance = _WORKFLOW_INSTANCE if scope is None else scope.step.reference
            await validate(schema, data, self.run.environment.runtime.evaluator, instance)

    async def _duration(self, duration: Duration, data: Any, scope: Scope | None) -> timedelta:
        if duration.template is None:
            assert duration.fixed is not None
            return duration.fixed
        try:
            return parse_value(await self.evaluate(duration.template, data, scope))
        except ValueError as error:
            fail("expression", str(error))

    async def _store_failures(self) -> None:
        """Before the next effect, store the failures that were caught, and who won a race."""
        if self.past.flush_failures() or self.run.journal.owes_join:
            await self.run.journal.write()

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

    async def _wait(self, block: Block, scope: Scope) -> None:
        """Wait as the block says, storing what has begun unless the run parks with it."""
        run = self.run
        if block.until is not None:
            remaining = block.until - self.now()
            if remaining <= timedelta(0):
                return
            if remaining >= MIN_PARK:
                run.report(scope)
                if not run.environment.can_park or run.parking.running > 1:
                    await run.journal.write()
        await run.parking.wait(block)

    async def _end_of(self, task: ChildTask | ChildRun, scope: Scope) -> ChildEnd:
        """Start the child, if it has not been, and wait for its end."""
        children = self.run.environment.children
        if children is None:
            fail("runtime", "this run can start no task of its own: it has no queue")
        child_id, deadline = self.key(scope), scope.deadline
        try:
            end = await children.start(child_id, task)
            while end is None:
                if deadline is not None and self.now() >= deadline.at:
                    await children.cancel(child_id)
                    raise deadline.passed()
                until = None if deadline is None else deadline.at
                await self.run.parking.wait(Block(until, wakes=True))
                end = await children.start(child_id, task)
            if end.status == "cancelled" and deadline is not None and self.now() >= deadline.at:
                # By an attempt that ended before it could keep its time-out.
                raise deadline.passed()
        except asyncio.CancelledError:
            if self.given_up:
                await children.cancel(child_id)
            raise
        return end

    def _check_size(self, size: int, what: str) -> None:
        if size > self.limits.max_data_bytes:
            self.limits.exceeded("max_data_bytes", f"{what} {size} bytes", "let it be less")

    def _arguments(self, scope: Scope | None) -> Arguments:
        run = self.run
        arguments: dict[str, Callable[[], Any]] = {
            "context": lambda: self.context,
            "input": lambda: None if scope is None else scope.input,
            "output": lambda: None if scope is None else scope.output,
            "task": lambda: None if scope is None else _describe_step(scope),
            "workflow": lambda: _describe_workflow(run),
            "runtime": lambda: {"name": "headrace", "version": run.runtime, "metadata": {}},
            "secrets": run.secrets.values,
            NOW: self.time.timestamp,
        }
        if scope is not None:
            for name in scope.variables:
                arguments[name] = partial(scope.variables.get, name)
        return arguments


def _restore(scope: Scope, saved: StepState) -> tuple[Deadline | None, Done | None]:
    """Go on with a step: the deadline around it, and what its action gave."""
    around = scope.deadline
    scope.started_at = from_ms(saved.started_at_ms)
    scope.input = scope.raw_input if saved.input is msgspec.UNSET else saved.input
    scope.deadline = around if saved.deadline is None else load_deadline(saved.deadline)
    scope.memo, scope.entries = saved.memo, saved.entries
    return around, None if saved.done is None else Done(*saved.done)


def nested_too_deeply(instance: str = _WORKFLOW_INSTANCE) -> WorkflowError:
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


def _describe_workflow(run: Run) -> dict[str, Any]:
    return {
        "id": run.environment.run_id,
        "definition": run.workflow.document,
        "input": run.variables,
        "startedAt": describe_time(run.started_at),
    }

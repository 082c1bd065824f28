"""The one place that runs a handler: under its time-out, in a task, a thread or a child process.

An attempt has two ends. Its *outcome* is decided when the handler returns or raises, or when it is
stopped: out of time, cancelled, handed back. It is *gone* when its code runs no more. The two fall
together, but for code that does not stop when told to: a thread cannot be killed, and a coroutine
may swallow its cancellation. Whoever counts slots frees one when the attempt is gone. A child
process that has not stopped by itself is killed as soon as the outcome is decided.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import itertools
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from pydantic_core import PydanticSerializationError

from headrace.handlers.context import Context
from headrace.handlers.errors import Fatal, PayloadInvalid, ProcessDied
from headrace.handlers.failures import describe, holds_fatal, problem_of, storable, type_name
from headrace.handlers.forks import calls_handlers
from headrace.handlers.middleware import CallNext, Handled
from headrace.handlers.outcomes import Outcome, Park, Raised, Returned
from headrace.handlers.process_messages import RunAttempt
from headrace.handlers.processes import Ticket
from headrace.handlers.resources import Resources
from headrace.handlers.results import encode_result
from headrace.handlers.task_type import TaskType

STOP_GRACE_SECONDS = 5.0
"""How long a coroutine that was told to stop may tidy up before its outcome is reported."""

T = TypeVar("T")


class Attempt:
    """One run of a handler. Made and used in the event loop's thread.

    `on_outcome(attempt)` is called once, as soon as `attempt.outcome` is decided, and
    `on_gone(attempt)` once, at the same time or later, when no code of it runs any more.
    """

    __slots__ = (
        "_loop",
        "_on_gone",
        "_on_outcome",
        "_payload",
        "_pending",
        "_resources",
        "_task",
        "_ticket",
        "_timer",
        "ctx",
        "gone",
        "outcome",
        "seconds",
        "started_at",
        "task_type",
    )

    def __init__(
        self,
        task_type: TaskType[Any, Any],
        ctx: Context,
        *,
        on_outcome: Callable[[Attempt], None],
        on_gone: Callable[[Attempt], None],
        resources: Resources,
    ) -> None:
        self.task_type = task_type
        self.ctx = ctx
        self.outcome: Outcome | None = None
        self.gone = False
        self.started_at = 0.0
        """By the event loop's clock."""
        self.seconds = 0.0
        """From the start to the outcome."""
        self._on_outcome = on_outcome
        self._on_gone = on_gone
        self._resources = resources
        self._pending: Outcome | None = None
        self._task: asyncio.Task[None] | None = None
        self._ticket: Ticket | None = None
        """Where it runs in a child process."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, payload: bytes) -> None:
        """Set the handler going."""
        self._loop = loop
        self.started_at = loop.time()
        task_type = self.task_type
        if task_type.in_process:
            self._payload = payload
            self._ticket = self._resources.processes.run(self)
            return
        self._begin_to_count()
        if task_type.is_async or self._resources.middleware:
            self._task = loop.create_task(self._drive(payload))
        else:
            self._in_thread(self._call, payload).add_done_callback(self._thread_ended)

    def _begin_to_count(self) -> None:
        """The handler's time begins now."""
        timeout_seconds = self.task_type.timeout_seconds
        if timeout_seconds is not None and self._pending is None:
            self.ctx.set_deadline(time.time() + timeout_seconds)
            self._resources.deadlines.set(self._loop, self, self._loop.time() + timeout_seconds)

    def _in_thread(self, call: Callable[[bytes], T], payload: bytes) -> Future[T]:
        return self._resources.threads.submit(contextvars.copy_context().run, call, payload)

    def stop(self, outcome: Outcome, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """End the attempt from outside, with this outcome whatever the handler makes of it.

        The cancel signal is set and a coroutine cancelled. The outcome is decided when the handler
        ends, at the latest after `grace_seconds`. Of several stops the first one's outcome holds,
        and the shortest grace.
        """
        if self.outcome is not None:
            return
        if self._pending is None:
            self._pending = outcome
            self._resources.deadlines.drop(self)
            self.ctx.cancelled.set()
            if self._ticket is not None:
                self._ticket.stop()
            if self._task is not None:
                self._task.cancel()
                driving = cast("Coroutine[Any, Any, None]", self._task.get_coro())
                if inspect.getcoroutinestate(driving) == inspect.CORO_CREATED:
                    # Cancelled before its first step, a task runs none of its code.
                    self._task = None
                    self._decide(outcome)
                    self._leave()
                    return
        if grace_seconds <= 0:
            self._decide(outcome)
            return
        timer, now = self._timer, self._loop.time()
        if timer is None or now + grace_seconds < timer.when():
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_later(grace_seconds, self._decide, outcome)

    @calls_handlers
    async def _drive(self, payload: bytes) -> None:
        """Run an async handler, or one inside of middleware, in a task of its own."""
        if self._resources.middleware:
            try:
                outcome: Outcome = await self._through_middleware(payload)
            except BaseException as error:
                outcome = self._refuse_unless_over(error)
            self._finish(outcome)
            return
        try:
            value = self.task_type.validate(payload)
        except BaseException as error:
            outcome = _refuse_payload(error)
        else:
            try:
                outcome = self._accept(await self.task_type.function(self.ctx, value))
            except BaseException as error:
                outcome = self._refuse_unless_over(error)
        self._finish(outcome)

    async def _through_middleware(self, payload: bytes) -> Handled:
        async def handle() -> Handled:
            return await self._handle(payload)

        call: CallNext = handle
        for middleware in reversed(self._resources.middleware):
            call = functools.partial(middleware, self.ctx, call)
        handled: object = await call()
        if not isinstance(handled, Handled):
            raise TypeError(
                f"a middleware returned {type(handled).__name__}: it must return what "
                "call_next() gave it, a Returned or a Park"
            )
        return handled

    async def _handle(self, payload: bytes) -> Handled:
        """Run the handler inside of middleware, which is to see the error that it raises."""
        if not self.task_type.is_async:
            return await _to_the_end(self._in_thread(self._handle_in_thread, payload))
        value = self._validated(payload)
        return self._written(await self.task_type.function(self.ctx, value))

    @calls_handlers
    def _handle_in_thread(self, payload: bytes) -> Handled:
        try:
            return self._written(self.task_type.function(self.ctx, self._validated(payload)))
        except StopIteration as error:
            raise RuntimeError("the handler raised StopIteration") from error  # no future takes it

    def _validated(self, payload: bytes) -> Any:
        try:
            return self.task_type.validate(payload)
        except BaseException as error:
            refused = _refuse_payload(error)
            raise Fatal(refused.error) from refused.exception

    def _written(self, value: Any) -> Handled:
        outcome = self._accept(value)
        if isinstance(outcome, Raised):
            raise Fatal(outcome.error)
        return outcome

    @calls_handlers
    def _call(self, payload: bytes) -> Outcome:
        """Run a sync handler, in its thread.

        The code that payload and result bring along runs here too, not in the event loop: a
        model's validators and properties, a generator's body.
        """
        if self.ctx.cancelled:
            return _NOTHING
        try:
            value = self.task_type.validate(payload)
        except BaseException as error:
            return _refuse_payload(error)
        try:
            return self._accept(self.task_type.function(self.ctx, value))
        except BaseException as error:
            return self._refuse(error)

    def _thread_ended(self, future: Future[Outcome]) -> None:
        """Called in the handler's thread."""
        try:
            self._loop.call_soon_threadsafe(self._collect, future)
        except RuntimeError:
            # The event loop is closed: the process ends, and has reported the attempt long since.
            return

    def _collect(self, future: Future[Outcome]) -> None:
        """Take what came of a sync handler."""
        if self.outcome is None:
            self._decide(future.result())
        self._leave()

    def message(self) -> RunAttempt:
        """Its child process is ready for it."""
        self._begin_to_count()
        ctx, task_type = self.ctx, self.task_type
        deadline = ctx.deadline
        return RunAttempt(
            module=task_type.function.__module__,
            task_type=task_type.name,
            task_id=ctx.task_id,
            payload=self._payload,
            attempt=ctx.attempt,
            state=ctx.state,
            inbox=ctx.inbox,
            journal=ctx.journal,
            generation=ctx.generation,
            headers=dict(ctx.headers),
            can_park=ctx.can_park,
            deadline=None if deadline is None else deadline.timestamp(),
            max_result_bytes=self._resources.max_result_bytes,
        )

    def finished(self, outcome: Outcome | ProcessDied) -> None:
        """Its child process has ended the handler, or has died."""
        self._ticket = None
        self._decide(self._refuse(outcome) if isinstance(outcome, ProcessDied) else outcome)
        self._leave()

    def time_out(self) -> None:
        """The handler's time is over: at once for a thread, for a coroutine when it has ended."""
        error = TimeoutError(f"the handler took longer than {self.task_type.timeout_seconds:g} s")
        outcome = Raised(describe(error), self._wants_retry(error), error, type_name(error))
        self.stop(outcome, STOP_GRACE_SECONDS if self.task_type.is_async else 0.0)

    def _accept(self, value: Any) -> Handled | Raised:
        """What a returned value amounts to."""
        if isinstance(value, Park):
            if not self.ctx.can_park:
                return _fatal("the handler returned a Park, which is not possible in this run")
            fault = value.fault(self.ctx.journal)
            return value if fault is None else _fatal(f"the handler's Park {fault}")
        if hasattr(value, "__next__"):
            # It may never end. Each item takes two bytes or more: so many are beyond the limit.
            value = itertools.islice(value, self._resources.max_result_bytes // 2 + 1)
        try:
            result = encode_result(value)
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
            return _fatal(f"the result cannot be written as JSON: {error}")
        limit = self._resources.max_result_bytes
        if len(result) > limit:
            return _fatal(
                f"the result has {len(result)} bytes, the limit is {limit}: "
                "store it elsewhere and return a reference"
            )
        return Returned(result)

    def _refuse_unless_over(self, error: BaseException) -> Outcome:
        """As `_refuse`, for what a coroutine raised.

        SystemExit and KeyboardInterrupt too: raised by a handler they end its attempt, not the
        worker. A cancellation that nobody asked for is a handler's error as well.
        """
        if type(error) is GeneratorExit and self._loop.is_closed():
            raise error  # the process ends, and has reported the attempt long since
        return self._refuse(error)

    def _refuse(self, error: BaseException) -> Outcome:
        """What a raised error amounts to."""
        if issubclass(type(error), asyncio.CancelledError):
            error = RuntimeError("the handler was cancelled from within: nobody stopped the task")
        is_plain = type(error) is Fatal and error.__cause__ is None
        exception = None if is_plain else error
        return Raised(
            describe(error),
            self._wants_retry(error),
            exception,
            type_name(error),
            problem_of(error),
        )

    def _wants_retry(self, error: BaseException) -> bool:
        try:
            return not holds_fatal(error) and self.task_type.wants_retry(error)
        except BaseException:  # a class in `retry_on` may judge by code of its own
            return False

    def _decide(self, outcome: Outcome) -> None:
        """Settle on the outcome: the first stop's, else this one."""
        if self.outcome is not None:
            return
        self.outcome = outcome if self._pending is None else self._pending
        self.seconds = self._loop.time() - self.started_at
        self._resources.deadlines.drop(self)
        if self._ticket is not None:
            self._ticket.kill()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_outcome(self)

    def _finish(self, outcome: Outcome) -> None:
        self._task = None
        self._decide(outcome)
        self._leave()

    def _leave(self) -> None:
        self.gone = True
        self._on_gone(self)


async def _to_the_end(future: Future[T]) -> T:
    """What a thread brings. Cancelled, it waits on: nobody can stop a thread from outside."""
    waiting = asyncio.wrap_future(future)
    cancelled = None
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:
            break
    if cancelled is not None:
        raise cancelled
    return waiting.result()


def _refuse_payload(error: BaseException) -> Raised:
    """What an error amounts to that the payload's check raised: another try meets it again."""
    if isinstance(error, PayloadInvalid):
        return _fatal(str(error))
    # The payload's model may check it with code of its own, which may raise anything.
    return Raised(describe(error), False, error, type_name(error))


def _fatal(message: str) -> Raised:
    return Raised(storable(message), retryable=False, error_type=type_name(Fatal()))


_NOTHING = Returned(b"null")
"""Of an attempt that was stopped before it began: the stop's outcome counts."""

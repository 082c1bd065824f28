"""Branches of a step: they run side by side, and are joined."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from headrace.workflows.errors import WorkflowError
from headrace.workflows.model import Done, Entry
from headrace.workflows.running.clock import from_ms, to_ms
from headrace.workflows.running.parking import Block
from headrace.workflows.running.past import Position
from headrace.workflows.running.state import BranchEnd, ForkState, load_error

Begin = Callable[[int, str, Iterable[Entry]], tuple[Position, Callable[[], Awaitable[Done]]]]
"""Given a branch's number, its path and what it has done: the branch, and what it does."""


class Ended(Exception):
    """Unwinds a branch that a step ended with `then: end`."""

    def __init__(self, output: Any) -> None:
        self.output = output


class Fork:
    """Branches of one step, from their beginning to the join.

    How each ended is kept in the fork's state in the moment in which it ends, and so a snapshot has
    either its position or its end. Which branch decided the join, by winning or by failing, is an
    entry: a resume performs that branch alone again, and never chooses again.

    Args:
        parent: the branch that has them.
        count: how many.
        begin: makes a branch.
        path: under which their paths lie.
        at_once: so many are under way at once.
        compete: whether the first to complete decides.
    """

    def __init__(
        self,
        parent: Position,
        count: int,
        begin: Begin,
        path: str,
        at_once: int,
        compete: bool,
    ) -> None:
        self._parent = parent
        self._run = parent.run
        self._make = begin
        self._path = path
        self._at_once = at_once
        self._compete = compete
        self._count = count
        self._state = self._run.restored.forks.pop(path, ForkState())
        self._entries = parent.past.split(path)
        self._decider = next(
            (n for n, end in self._state.ended.items() if self._decides(end)), None
        )
        """The branch that decides the join before all have ended."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._branches: dict[int, Position] = {}
        self._stopped: BaseException | None = None
        self._block: Block | None = None

    async def perform(self) -> list[Any]:
        """Perform the branches; their outputs, or the winner's. Raises what a branch raises."""
        run, state, past = self._run, self._state, self._parent.past
        join = past.find_choice(self._path, "join")
        chosen = None if join is None else msgspec.json.decode(join.value, type=int)
        run.forks[self._path] = state
        begun = range(state.begun) if chosen is None else [chosen]
        waiting = [number for number in begun if number not in state.ended]
        decided = False
        try:
            while not (decided := self._decided(chosen)):
                if self._stopped is not None:
                    raise self._stopped
                while len(self._tasks) < self._at_once:
                    if waiting:
                        self._begin(waiting.pop(0))
                    elif chosen is None and state.begun < self._count:
                        state.begun += 1
                        self._begin(state.begun - 1)
                    else:
                        break
                self._block = Block()
                await run.parking.wait(self._block)
        finally:
            await self._give_up(decided)
            for entries in self._entries.values():
                past.drop(entries)
            del run.forks[self._path]
            run.restored.forget_under(self._path)
        return self._join(is_repeat=chosen is not None)

    def _begin(self, number: int) -> None:
        path = f"{self._path}/{number}"
        branch, work = self._make(number, path, self._entries.pop(number, ()))
        self._branches[number] = branch
        self._run.parking.running += 1
        task = asyncio.create_task(self._branch(number, branch, work))
        self._tasks[number] = task
        task.add_done_callback(partial(self._ended, number, branch))

    async def _branch(
        self, number: int, branch: Position, work: Callable[[], Awaitable[Done]]
    ) -> None:
        """One branch. Its end is kept at once, before anything else can happen."""
        output, error = None, None
        try:
            output = (await work()).output
        except Ended as ended:
            output = ended.output
        except WorkflowError as failed:
            if failed.final:
                raise
            error = failed.as_dict()
        context = branch.context if branch.exported else msgspec.UNSET
        end = BranchEnd(to_ms(branch.time), output, error, context)
        self._state.ended[number] = end
        if self._decides(end):
            if self._decider is None:
                self._decider = number
        elif error is not None:
            # The race goes on without it: its failures are caught.
            branch.flush_failures()

    def _ended(self, number: int, branch: Position, task: asyncio.Task[None]) -> None:
        run = self._run
        del self._tasks[number]
        del run.branches[branch.path]
        if not task.cancelled() and self._stopped is None:
            self._stopped = task.exception()
        if self._block is not None:
            run.parking.wake(self._block)
        run.parking.running -= 1

    def _decides(self, end: BranchEnd) -> bool:
        """Whether the others need not end: one has won, or one has failed."""
        return (end.error is None) == self._compete

    def _decided(self, chosen: int | None) -> bool:
        """Whether the join has all that it needs."""
        ended = self._state.ended
        if self._decider is not None or len(ended) == self._count:
            return True
        return chosen is not None and chosen in ended

    async def _give_up(self, decided: bool) -> None:
        """Cancel what is under way; if the join is decided, for good: children too."""
        tasks = list(self._tasks.items())
        for number, task in tasks:
            self._branches[number].given_up = decided or self._parent.given_up
            task.cancel()
        if tasks:
            await asyncio.wait([task for _, task in tasks])

    def _join(self, *, is_repeat: bool) -> list[Any]:
        """Join the branches: the time, the contexts, the outputs. Raises WorkflowError."""
        parent, ended = self._parent, self._state.ended
        past = parent.past
        decider = self._decider
        if decider is None and self._compete:
            decider = min(ended)  # all have failed
        joined = sorted(ended) if decider is None else [decider]
        for number in joined:
            if number in self._branches:
                past.adopt(self._branches[number].past)
        past.time = max([past.time, *(from_ms(ended[number].time_ms) for number in joined)])
        if decider is not None:
            error = ended[decider].error
            if not is_repeat:
                entry = past.success(self._path, "join", decider)
                if error is None:
                    past.record(entry)
                else:
                    past.fail(entry)
            if error is not None:
                raise load_error(error)
        before = parent.context
        for number in joined:
            if ended[number].context is not msgspec.UNSET:
                parent.context = _applied(before, ended[number].context, parent.context)
                parent.exported = True
        return [ended[number].output for number in joined]


def _applied(before: Any, after: Any, context: Any) -> Any:
    """A context with what a branch has changed in its own, which was `before` and is `after`."""
    if not (isinstance(before, dict) and isinstance(after, dict) and isinstance(context, dict)):
        return after
    kept = {key: value for key, value in context.items() if key in after or key not in before}
    changed = {key: v for key, v in after.items() if key not in before or before[key] != v}
    return kept | changed

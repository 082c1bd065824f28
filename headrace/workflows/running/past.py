"""What a branch has done, and its time: taken from the journal first, and then added to it.

The time is what expressions see and time-outs are counted from. It stands still between effects, so
that what is computed again comes out the same: it is when the last effect ended, or when a later
attempt went on after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

from headrace.workflows.errors import StateError, WorkflowError
from headrace.workflows.model import Deadline, Entry, Scope
from headrace.workflows.running.clock import from_ms, to_ms
from headrace.workflows.running.run import Run
from headrace.workflows.running.state import encode, load_error

Kind = Literal["call", "wait", "child", "timeout", "join"]
NULL = msgspec.Raw(b"null")


class Past:
    """A branch's part of the journal, in its order.

    Args:
        run: the run.
        parent: the branch that began this one.
        time: the branch's.
        entries: what it has done since the snapshot, by earlier attempts.
    """

    def __init__(
        self, run: Run, parent: Past | None, time: datetime, entries: Iterable[Entry]
    ) -> None:
        self.time = time
        self._run = run
        self._parent = parent
        self._entries = deque(entries)
        self._failures: list[Entry] = []

    @property
    def live(self) -> bool:
        """Whether what happens now happens for the first time."""
        return not self._entries and (self._parent is None or self._parent.live)

    def find(self, scope: Scope, kind: Kind) -> Entry | None:
        """What was done under the scope's path; None: nothing yet. Raises StateError."""
        found = scope.entries.get(scope.path)
        if found is not None:
            return found
        if self.live:
            return None
        run = self._run
        entry = self._next(scope.path, kind)
        if entry is None and run.old_keys is not None:
            entry = self._next(run.old_keys.next(scope.step.reference), kind)
        if entry is None:
            # Never silently once more: what was done does not belong to what is computed again.
            expected = self._entries[0].path if self._entries else "what its branch was joined by"
            raise StateError(
                f"the run comes to the {kind} {scope.path!r}, and what was saved goes on with "
                f"{expected!r}: it was saved by a version that runs this definition otherwise; "
                "submit it again"
            )
        self._keep(scope, entry)
        return entry

    def find_choice(self, path: str, kind: Literal["timeout", "join"]) -> Entry | None:
        """What was decided at a path; None: nothing."""
        return self._next(path, kind)

    def split(self, path: str) -> dict[int, list[Entry]]:
        """Take what the branches under a path have done, by their number."""
        under = path + "/"
        mine: deque[Entry] = deque()
        theirs: dict[int, list[Entry]] = {}
        for entry in self._entries:
            if entry.path.startswith(under):
                number = entry.path[len(under) :].partition("/")[0]
                theirs.setdefault(int(number), []).append(entry)
            else:
                mine.append(entry)
        self._entries = mine
        return theirs

    def drop(self, entries: Iterable[Entry]) -> None:
        """Leave out what branches have done that are not performed again."""
        self._run.unmet -= sum(1 for _ in entries)

    def record(self, entry: Entry, scope: Scope | None = None) -> None:
        """Add what has just been done, or decided."""
        self.flush_failures()
        self._run.journal.add(entry)
        if scope is not None:
            self._keep(scope, entry)

    def fail(self, *failures: Entry) -> None:
        """Keep failures until one is caught: a run that ends by them is retried without."""
        self._failures += failures

    def flush_failures(self) -> bool:
        """Add the failures: the run has gone on after them. Returns whether there were any."""
        failures, self._failures = self._failures, []
        for entry in failures:
            self._run.journal.add(entry)
        return bool(failures)

    def forget_failures(self) -> None:
        """A snapshot has been made: who caught them has said so in its memo."""
        self._failures = []

    def adopt(self, branch: Past) -> None:
        """Take over the failures of a branch that has been joined, and its time."""
        self._failures += branch._failures
        branch._failures = []

    def advance(self, path: str, ended_at_ms: int, *, saved: bool) -> None:
        """Let the time go on after an effect; `saved`: an earlier attempt's."""
        self.time = max(self.time, from_ms(ended_at_ms))
        self._run.since_effect = 0
        if not saved:
            return
        while self._entries and self._entries[0].kind == "resumed":
            self.time = from_ms(self._take().ended_ms)
        if self.live and (now := self._run.environment.now()) > self.time:
            # From here on this attempt is the first: what it does is done now.
            moment = to_ms(now)
            self.time = from_ms(moment)
            self._run.journal.add(Entry(path, "resumed", True, NULL, moment, moment))

    def check(self, deadline: Deadline | None, path: str) -> None:
        """Raise WorkflowError if the deadline has passed. That it has is an entry."""
        decided = self._next(path, "timeout")
        if decided is not None:
            raise raised(decided)
        if deadline is None:
            return
        # While entries remain, this part of the run lies in the past, whatever the clock says.
        now = max(self.time, self._run.environment.now()) if self.live else self.time
        if now < deadline.at:
            return
        error = deadline.passed()
        if self.live:
            self.fail(self.failure(path, "timeout", error))
        raise error

    def failure(self, path: str, kind: Kind, error: WorkflowError) -> Entry:
        """The entry of an effect that has just failed."""
        now = max(to_ms(self._run.environment.now()), to_ms(self.time))
        return Entry(path, kind, False, msgspec.Raw(encode(error.as_dict())), to_ms(self.time), now)

    def success(self, path: str, kind: Kind, value: Any) -> Entry:
        """The entry of what has just been done."""
        now = to_ms(self._run.environment.now())
        return Entry(path, kind, True, msgspec.Raw(encode(value)), to_ms(self.time), now)

    def _next(self, path: str, kind: Kind) -> Entry | None:
        if self._entries and self._entries[0].path == path and self._entries[0].kind == kind:
            return self._take()
        return None

    def _take(self) -> Entry:
        self._run.unmet -= 1
        return self._entries.popleft()

    def _keep(self, scope: Scope, entry: Entry) -> None:
        # The memo says what the step did before: a million retries leave one wait.
        scope.entries.clear()
        if entry.ok:
            scope.entries[scope.path] = entry
        self._run.note_for_old_workers(scope, entry)


class Position:
    """Where a branch stands. It is among its run's branches from here on.

    Args:
        run: the run.
        path: names it in the run; "" is the one that the run begins with.
        parent: the branch that began this one.
        context: what it begins with.
        time: what it begins at.
        entries: what it has done since the snapshot, by earlier attempts.
    """

    def __init__(
        self,
        run: Run,
        path: str,
        parent: Position | None,
        context: Any,
        time: datetime,
        entries: Iterable[Entry],
    ) -> None:
        self.run = run
        self.path = path
        self.context = context
        self.exported = False
        self.given_up = False
        """Whether another branch has ended what it is part of."""
        saved = run.restored.branches.pop(path, None)
        if saved is not None:
            self.context, time = saved.context, from_ms(saved.time_ms)
            self.exported = saved.exported
        self.past: Past = Past(run, None if parent is None else parent.past, time, entries)
        self.flush_failures = self.past.flush_failures
        self.forget_failures = self.past.forget_failures
        run.branches[path] = self

    @property
    def time(self) -> datetime:
        """The branch's time."""
        return self.past.time


def raised(entry: Entry) -> WorkflowError:
    """The error of a failed entry."""
    return load_error(msgspec.json.decode(entry.value))

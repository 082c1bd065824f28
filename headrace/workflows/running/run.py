"""A run under way: what its branches share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import msgspec

from headrace.workflows.errors import StateError
from headrace.workflows.model import Deadline, Done, Entry, Scope, Workflow
from headrace.workflows.running.clock import from_ms, to_ms
from headrace.workflows.running.environment import Environment
from headrace.workflows.running.journal import Journal
from headrace.workflows.running.old_state import OLD_VERSION, History, OldKeys, is_read_by_0_2_0
from headrace.workflows.running.parking import Parking
from headrace.workflows.running.state import (
    STATE_VERSION,
    BranchState,
    ForkState,
    Frames,
    Saved,
    SequenceState,
    Snapshot,
    Start,
    encode,
    load,
    save_deadline,
    save_step,
)
from headrace.workflows.secrets import RunSecrets

# So many steps without an await that suspends, and the event loop gets a turn.
_STEPS_PER_TURN = 50


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The run is over; `output` is JSON-like data."""

    output: Any


@dataclass(frozen=True, slots=True)
class RunParked:
    """The run gives its slot up, to go on later by `execute`.

    unpark_at: when; None: at no time, only when a child ends.
    state: takes the place of what was saved, and empties the journal; None: leaves both.
    entries: are appended to the journal.
    wakes: whether the end of a child lets it go on earlier.
    """

    unpark_at: datetime | None
    state: bytes | None
    entries: tuple[bytes, ...] = ()
    wakes: bool = False


class Standing(Protocol):
    """A branch, as a snapshot holds it."""

    context: Any
    exported: bool
    """Whether it has exported to its context."""

    @property
    def time(self) -> datetime:
        """The branch's time."""

    def flush_failures(self) -> bool:
        """See `Past`."""

    def forget_failures(self) -> None:
        """See `Past`."""


@dataclass(slots=True)
class StepFrame:
    """A step that is performed: `around` is the deadline around it, `done` what its action gave."""

    scope: Scope
    around: Deadline | None
    done: Done | None


@dataclass(slots=True)
class Run:
    """What the branches of a run share: what has begun and not ended, by its path, and the journal.

    `restored` is what the snapshot held of that and nobody has gone on with yet.
    """

    workflow: Workflow
    variables: Any
    environment: Environment
    saved: Saved | None
    sequences: dict[str, SequenceState] = field(default_factory=dict)
    steps: dict[str, StepFrame] = field(default_factory=dict)
    forks: dict[str, ForkState] = field(default_factory=dict)
    branches: dict[str, Standing] = field(default_factory=dict)
    restored: Frames = field(default_factory=Frames)
    began: bool = False
    """Whether the workflow's own input has been made of the variables."""
    started_at_ms: int = 0
    runtime: str = ""
    deadline: Deadline | None = None
    unmet: int = 0
    """Entries of earlier attempts that nobody has come to yet."""
    since_effect: int = 0
    """Steps since the last effect or park."""
    total: int = 0
    old_keys: OldKeys | None = None
    """Names steps as 0.2.0 did, in a run that it left."""
    history: History | None = None
    """What 0.2.0 would need to go on with the run, if it could."""
    parked: RunParked | None = None
    secrets: RunSecrets = field(init=False)
    journal: Journal = field(init=False)
    parking: Parking = field(init=False)

    def __post_init__(self) -> None:
        self.secrets = RunSecrets(self.environment.runtime.secrets, self.workflow.secrets)
        saved = self.saved
        count = size = 0
        if saved is None:
            self.started_at_ms = to_ms(self.environment.now())
            self.runtime = runtime_version()
        else:
            snapshot = saved.snapshot
            self.started_at_ms = snapshot.started_at_ms
            self.runtime = snapshot.runtime
            self.total = snapshot.total
            if snapshot.frames is not None:
                self.restored = snapshot.frames
                self.began = True
            elif snapshot.version == OLD_VERSION:
                self.old_keys = OldKeys()
            count, size = len(saved.entries), saved.size
            self.unmet = count
        if saved is None or not self.began:
            self.history = History({}) if is_read_by_0_2_0(self.workflow) else None
        elif saved.snapshot.steps is not None:
            self.history = History(saved.snapshot.steps)
        self.journal = Journal(
            self.environment, self._snapshot, lambda: self.history is not None, count, size
        )
        self.parking = Parking(self.environment, self._park)
        if saved is None:
            moment = self.started_at_ms
            start = Start(self.workflow.definition_sha256, self.runtime)
            value = msgspec.Raw(encode(start))
            self.journal.add(Entry("/", "start", True, value, moment, moment))

    @property
    def started_at(self) -> datetime:
        """When the run's first attempt began."""
        return from_ms(self.started_at_ms)

    async def count_step(self) -> None:
        """Count a step. Raises WorkflowError when there are too many."""
        self.since_effect += 1
        self.total += 1
        limits = self.environment.limits
        if self.since_effect > limits.max_steps:
            limits.exceeded(
                "max_steps",
                f"the run took {self.since_effect} steps without a call or a wait",
                "does a `then` never end, or does a `for` have too many rounds?",
                final=True,
            )
        if self.total > limits.max_run_steps:
            limits.exceeded(
                "max_run_steps",
                f"the run took {self.total} steps in all",
                "split the workflow",
                final=True,
            )
        if self.since_effect % _STEPS_PER_TURN == 0:
            await asyncio.sleep(0)

    def note_for_old_workers(self, scope: Scope, entry: Entry) -> None:
        """Keep for 0.2.0 what it would have kept."""
        if self.history is not None and not self.history.add(scope.step.reference, entry):
            self.history = None

    def report(self, scope: Scope) -> None:
        """Say how far the run is."""
        top = self.sequences.get("/do")
        place = 0 if top is None else top.index
        percent = 100 * place // max(len(self.workflow.steps), 1)
        self.environment.progress(percent, scope.step.name)

    def ended(self) -> None:
        """Raise StateError if entries are left: the run is another one than they belong to."""
        if self.unmet:
            raise StateError(
                f"the run ended, and {self.unmet} of the saved steps were not met: they were "
                "saved by a version that runs this definition otherwise; submit it again"
            )

    async def close(self) -> None:
        """Give up what is under way: the attempt ends."""
        await self.parking.close()
        await self.journal.close()

    def _park(self, unpark_at: datetime | None, wakes: bool) -> None:
        for branch in self.branches.values():
            branch.flush_failures()
        moved = self.saved is None or self.total != self.saved.snapshot.total
        state, entries = self.journal.last_words(moved=moved)
        self.parked = RunParked(unpark_at, state, entries, wakes)

    def _snapshot(self) -> bytes | None:
        """The run as it stands; None while entries of earlier attempts are left."""
        if self.unmet:
            return None
        for branch in self.branches.values():
            branch.forget_failures()
        restored = self.restored
        frames = Frames(
            sequences={**restored.sequences, **self.sequences},
            steps={
                **restored.steps,
                **{
                    path: save_step(frame.scope, frame.done, frame.around)
                    for path, frame in self.steps.items()
                },
            },
            forks={**restored.forks, **self.forks},
            branches={
                **restored.branches,
                **{
                    path: BranchState(branch.context, to_ms(branch.time), branch.exported)
                    for path, branch in self.branches.items()
                },
            },
        )
        history = self.history
        return encode(
            Snapshot(
                workflow=self.workflow.definition_sha256,
                runtime=self.runtime,
                started_at_ms=self.started_at_ms,
                total=self.total,
                deadline=save_deadline(self.deadline),
                frames=frames,
                steps=None if history is None else history.steps,
                version=STATE_VERSION if history is None else OLD_VERSION,
            )
        )


def open_run(
    workflow: Workflow,
    variables: Any,
    environment: Environment,
    state: bytes | None,
    journal: Sequence[bytes],
) -> Run:
    """A run from its start, or from what was saved of it. Raises StateError."""
    saved = load(state, journal, workflow.definition_sha256)
    return Run(workflow, variables, environment, saved)


@cache
def runtime_version() -> str:
    """The installed version, for `$runtime`; a source checkout has none."""
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "source"

"""What is saved of a run: the entries of its journal, and its snapshots.

A snapshot holds where each branch stands: the sequences, the steps and the forks that have begun
and not ended, each under its path. The journal holds what was done since. What a run does between
two entries is computed again from these, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from headrace.workflows.errors import StateError, WorkflowError
from headrace.workflows.model import Deadline, Done, Entry, Scope
from headrace.workflows.running.clock import from_ms, to_ms
from headrace.workflows.running.old_state import OldSteps, decode_old_state

STATE_VERSION = 2
ROOT = ""
"""The path of the branch that every run begins with."""

encode = msgspec.json.Encoder().encode
_decode_entry = msgspec.json.Decoder(Entry).decode


class SequenceState(msgspec.Struct):
    """A sequence under way: the step that comes next or is under way, and that one's raw input.

    `visits` counts how often a step of it has begun, where that was more than once.
    """

    index: int
    data: Any
    visits: dict[str, int] = {}


class StepState(msgspec.Struct, omit_defaults=True):
    """A step that has begun, from the moment its action is performed.

    `input` is unset if it is the raw input; `deadline` is None if the step has none of its own.
    `done` is what the action returned, if it did.
    """

    started_at_ms: int
    input: Any = msgspec.UNSET
    deadline: tuple[int, float, str] | None = None
    memo: dict[str, Any] = {}
    entries: dict[str, Entry] = {}
    done: tuple[Any, str | None] | None = None


class BranchEnd(msgspec.Struct, omit_defaults=True):
    """How a branch ended. `context` is unset if the branch exported nothing."""

    time_ms: int
    output: Any = None
    error: dict[str, Any] | None = None
    context: Any = msgspec.UNSET


class ForkState(msgspec.Struct):
    """Branches under way: how many have begun, and those that have ended, by their number."""

    begun: int = 0
    ended: dict[int, BranchEnd] = {}


class BranchState(msgspec.Struct):
    """A branch: its context, its time, and whether it has exported to its context."""

    context: Any
    time_ms: int
    exported: bool


class Frames(msgspec.Struct):
    """What has begun and not ended, by its path."""

    sequences: dict[str, SequenceState] = {}
    steps: dict[str, StepState] = {}
    forks: dict[str, ForkState] = {}
    branches: dict[str, BranchState] = {}

    def forget_under(self, path: str) -> None:
        """Drop what lies under a path: a branch of it was given up."""
        under = path + "/"
        for frames in (self.sequences, self.steps, self.forks, self.branches):
            for each in [each for each in frames if each.startswith(under)]:
                del frames[each]


class Snapshot(msgspec.Struct, kw_only=True):
    """A run at one moment.

    `workflow` is the definition's SHA-256 and `runtime` the version that the run began on; `total`
    counts its steps, and `deadline` is the workflow's own. `steps` is what version 0.2.0 reads
    instead of the frames, as long as it could (see `old_state`).
    """

    workflow: str
    runtime: str
    started_at_ms: int
    total: int = 0
    deadline: tuple[int, float, str] | None = None
    frames: Frames | None = None
    steps: OldSteps | None = None
    version: int = STATE_VERSION


class _Version(msgspec.Struct):
    version: int


_version_decoder = msgspec.json.Decoder(_Version)
_decoder = msgspec.json.Decoder(Snapshot)


@dataclass(slots=True)
class Saved:
    """What a run goes on from. `entries` are those since the snapshot."""

    snapshot: Snapshot
    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    """Bytes of the journal since the snapshot."""


class Start(msgspec.Struct):
    """The value of a journal's first entry, before there is a snapshot."""

    workflow: str
    runtime: str


def load(state: bytes | None, journal: Sequence[bytes], definition_sha256: str) -> Saved | None:
    """What was saved of a run of that definition; None: nothing. Raises StateError."""
    try:
        entries = [_decode_entry(entry) for entry in journal]
        if state is not None:
            snapshot, old = _load_snapshot(state)
            entries = old + entries
        elif entries:
            first = entries.pop(0)
            start = msgspec.json.decode(first.value, type=Start)
            snapshot = Snapshot(
                workflow=start.workflow, runtime=start.runtime, started_at_ms=first.began_ms
            )
        else:
            return None
    except msgspec.DecodeError as error:
        raise StateError(f"the run's saved state cannot be read: {error}") from None
    if snapshot.workflow != definition_sha256:
        raise StateError(
            f"the run was begun with another definition ({snapshot.workflow[:12]}…) than it is to "
            f"go on with ({definition_sha256[:12]}…)"
        )
    return Saved(snapshot, entries, sum(map(len, journal)))


def _load_snapshot(state: bytes) -> tuple[Snapshot, list[Entry]]:
    found = _version_decoder.decode(state).version
    if found > STATE_VERSION:
        raise StateError(
            f"the run was saved as version {found}, this Headrace reads up to {STATE_VERSION}: "
            "upgrade this process"
        )
    snapshot = _decoder.decode(state)
    if snapshot.frames is not None:
        return snapshot, []
    # Written by 0.2.0: the run is computed again from its start, once, with what was done.
    snapshot.steps = None
    return snapshot, decode_old_state(state)


def save_step(scope: Scope, done: Done | None, deadline: Deadline | None) -> StepState:
    """A step's state for a snapshot. `deadline` is the one around the step."""
    return StepState(
        started_at_ms=to_ms(scope.started_at),
        input=msgspec.UNSET if scope.input is scope.raw_input else scope.input,
        deadline=None if scope.deadline is deadline else save_deadline(scope.deadline),
        memo=scope.memo,
        entries=scope.entries,
        done=None if done is None else (done.output, done.then),
    )


def save_deadline(deadline: Deadline | None) -> tuple[int, float, str] | None:
    """A deadline for a snapshot."""
    if deadline is None:
        return None
    return to_ms(deadline.at), deadline.after.total_seconds(), deadline.instance


def load_deadline(saved: tuple[int, float, str] | None) -> Deadline | None:
    """The reverse of `save_deadline`."""
    if saved is None:
        return None
    return Deadline(from_ms(saved[0]), timedelta(seconds=saved[1]), saved[2])


def load_error(fields: dict[str, Any]) -> WorkflowError:
    """An error from the language's object."""
    return WorkflowError(**fields)

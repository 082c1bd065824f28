"""States of version 0.2.0: read, and written beside a snapshot as long as that version could go on.

It kept the output of each finished call and the end of each wait that had begun, in the order in
which they began, by the step's reference and how often it was reached. A run went on by computing
all of it again. Its steps were `set`, `do`, `wait` and `call: http`.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import msgspec

from headrace.workflows.model import Entry, Workflow

OLD_VERSION = 1
MAX_OLD_STEPS = 100
MAX_OLD_BYTES = 8_192


class OldCall(msgspec.Struct, frozen=True, tag="call"):
    """A finished call: its raw output as JSON, when it ended, and the run's time before it."""

    output: msgspec.Raw
    ended_at_ms: int
    run_time_ms: int


class OldWait(msgspec.Struct, frozen=True, tag="wait"):
    """A wait that has begun: when it ends, and the run's time before it."""

    until_ms: int
    run_time_ms: int


OldSteps = dict[str, OldCall | OldWait]


class _OldState(msgspec.Struct):
    steps: OldSteps = {}


_decoder = msgspec.json.Decoder(_OldState)
_NULL = msgspec.Raw(b"null")


def decode_old_state(state: bytes) -> list[Entry]:
    """What the run had done, as entries whose paths are the keys of that version.

    Raises msgspec.DecodeError.
    """
    steps = list(_decoder.decode(state).steps.items())
    entries = []
    for place, (key, step) in enumerate(steps):
        began = step.run_time_ms
        if isinstance(step, OldCall):
            ended = step.ended_at_ms
            entries.append(Entry(key, "call", True, step.output, began, ended))
        else:
            ended = step.until_ms
            entries.append(Entry(key, "wait", True, _NULL, began, ended))
        if place + 1 < len(steps) and (went_on := steps[place + 1][1].run_time_ms) > ended:
            entries.append(Entry(key, "resumed", True, _NULL, went_on, went_on))
    return entries


class OldKeys:
    """Names executions of steps as 0.2.0 did: by how often the run has reached each."""

    def __init__(self) -> None:
        self._visits: Counter[str] = Counter()

    def next(self, reference: str) -> str:
        """The key of the next execution of a step with an effect."""
        self._visits[reference] += 1
        visit = self._visits[reference]
        return reference if visit == 1 else f"{reference}#{visit}"


class History:
    """What 0.2.0 would have saved of a run, as long as it is short and has only its steps."""

    def __init__(self, steps: OldSteps) -> None:
        self.steps = steps
        self._keys = OldKeys()
        self._bytes = 0
        for key in steps:
            self._keys.next(key.partition("#")[0])

    def add(self, reference: str, entry: Entry) -> bool:
        """Take an effect in; returns whether that version could still go on with the run."""
        key = self._keys.next(reference)
        if entry.kind == "call":
            self.steps[key] = OldCall(entry.value, entry.ended_ms, entry.began_ms)
        else:
            self.steps[key] = OldWait(entry.ended_ms, entry.began_ms)
        self._bytes += len(entry.value)
        return entry.ok and len(self.steps) <= MAX_OLD_STEPS and self._bytes <= MAX_OLD_BYTES


# The keys that 0.2.0 reads, and those inside of them that it does.
_OLD_KEYS: dict[str, Any] = {
    "document": None,
    "evaluate": None,
    "timeout": None,
    "use": {"timeouts": None},
    "input": {"from": None},
    "output": {"as": None},
}
_OLD_TASK: dict[str, Any] = {
    "if": None,
    "input": {"from": None},
    "output": {"as": None},
    "export": {"as": None},
    "timeout": None,
    "then": None,
    "metadata": None,
    "set": None,
    "wait": None,
    "call": None,
    "with": dict.fromkeys(("method", "headers", "query", "body", "output", "redirect"))
    | {"endpoint": {"uri": None}},
}


@lru_cache(128)
def is_read_by_0_2_0(workflow: Workflow) -> bool:
    """Whether workers of that version can read a definition, and go on with its runs."""
    fields = dict(workflow.document)
    return _has_only_old_tasks(fields.pop("do")) and _has_only(fields, _OLD_KEYS)


def _has_only_old_tasks(tasks: list[dict[str, dict[str, Any]]]) -> bool:
    for item in tasks:
        for task in item.values():
            fields = dict(task)
            if fields.get("call", "http") != "http" or not _has_only_old_tasks(
                fields.pop("do", [])
            ):
                return False
            if not _has_only(fields, _OLD_TASK):
                return False
    return True


def _has_only(value: Any, keys: dict[str, Any] | None) -> bool:
    if keys is None or not isinstance(value, dict):
        return True
    return all(key in keys and _has_only(inner, keys[key]) for key, inner in value.items())

"""The saved state of a run, from which it continues after a crash.

Only what has effects or cannot be computed again is kept: the output of each finished call and the
end of each wait that has begun, by the step's reference (and how often it was reached). Everything
else is computed again from these, and comes out the same.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from headrace.limits import MAX_STATE_BYTES
from headrace.workflows.errors import StateError, fail
from headrace.workflows.running.clock import to_ms

STATE_VERSION = 1


class CallRecord(msgspec.Struct, frozen=True, tag="call"):
    """A finished call: its raw output as JSON, when it ended, and the run's time before it."""

    output: msgspec.Raw
    ended_at_ms: int
    run_time_ms: int


class WaitRecord(msgspec.Struct, frozen=True, tag="wait"):
    """A wait that has begun: when it ends, and the run's time before it."""

    until_ms: int
    run_time_ms: int


class State(msgspec.Struct):
    """The saved state: the definition's SHA-256, the version it began on, when, and its steps.

    The steps are in the order in which they began.
    """

    workflow: str
    runtime: str
    started_at_ms: int
    steps: dict[str, CallRecord | WaitRecord] = {}
    version: int = STATE_VERSION


class _Version(msgspec.Struct):
    version: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(State)
_version_decoder = msgspec.json.Decoder(_Version)


def encode_state(state: State) -> bytes:
    """The state as bytes. Raises WorkflowError when it is too large to keep."""
    encoded = _encoder.encode(state)
    if len(encoded) > MAX_STATE_BYTES:
        fail(
            "runtime",
            f"what the run has to keep ({len(encoded)} bytes) is over the limit of "
            f"{MAX_STATE_BYTES}: let its calls return less, or split the workflow",
        )
    return encoded


def decode_state(encoded: bytes, definition_sha256: str) -> State:
    """Read a saved state of a run of that definition. Raises StateError."""
    try:
        found = _version_decoder.decode(encoded).version
        if found > STATE_VERSION:
            raise StateError(
                f"the run was saved as version {found}, this Headrace reads up to "
                f"{STATE_VERSION}: upgrade this process"
            )
        state = _decoder.decode(encoded)
    except msgspec.DecodeError as error:
        raise StateError(f"the run's saved state cannot be read: {error}") from None
    if state.workflow != definition_sha256:
        raise StateError(
            f"the run was begun with another definition ({state.workflow[:12]}…) than it is to "
            f"go on with ({definition_sha256[:12]}…)"
        )
    return state


def record_call(output: Any, ended_at: datetime, run_time: datetime) -> CallRecord:
    """The record of a call that has just ended."""
    return CallRecord(msgspec.Raw(_encoder.encode(output)), to_ms(ended_at), to_ms(run_time))

"""What each task type does: `@handler`, the context it is given, and how an attempt is run."""

from headrace.handlers.backoff import Backoff
from headrace.handlers.context import CancelSignal, Context, Host
from headrace.handlers.deadlines import Deadlines
from headrace.handlers.errors import (
    DuplicateType,
    EntryPointBroken,
    Fatal,
    HandlerError,
    PayloadInvalid,
    RegistrationError,
)
from headrace.handlers.forks import guard_forks
from headrace.handlers.leaving import leave_within
from headrace.handlers.loops import own_task, run
from headrace.handlers.outcomes import Outcome, Park, Raised, Returned, Stopped, StopReason
from headrace.handlers.registry import Registry, load_registry
from headrace.handlers.runner import Attempt, Ended, Limit, run_attempt
from headrace.handlers.task_type import TaskType, handler
from headrace.handlers.watching import LoopWatch

__all__ = [
    "Attempt",
    "Backoff",
    "CancelSignal",
    "Context",
    "Deadlines",
    "DuplicateType",
    "Ended",
    "EntryPointBroken",
    "Fatal",
    "HandlerError",
    "Host",
    "Limit",
    "LoopWatch",
    "Outcome",
    "Park",
    "PayloadInvalid",
    "Raised",
    "RegistrationError",
    "Registry",
    "Returned",
    "StopReason",
    "Stopped",
    "TaskType",
    "guard_forks",
    "handler",
    "leave_within",
    "load_registry",
    "own_task",
    "run",
    "run_attempt",
]

"""Task types and how they run: `@handler`, the handler's context, and the attempt."""

from headrace.handlers.alone import Ended, Limit, run_attempt
from headrace.handlers.backoff import Backoff
from headrace.handlers.children import ChildEnd, EndStatus
from headrace.handlers.context import (
    NO_HEADERS,
    CancelSignal,
    Context,
    FurtherTask,
    Host,
    Lifespan,
)
from headrace.handlers.entry_points import load_lifespans, load_middleware
from headrace.handlers.errors import (
    DuplicateFunction,
    DuplicateType,
    EntryPointBroken,
    Fatal,
    HandlerError,
    LifespanFailed,
    PayloadInvalid,
    ProcessDied,
    RegistrationError,
    RemoteTraceback,
    SubmitFailed,
)
from headrace.handlers.failures import traceback_of
from headrace.handlers.forks import guard_forks
from headrace.handlers.functions import Function, function, load_functions
from headrace.handlers.leaving import leave_within
from headrace.handlers.loops import own_task, run
from headrace.handlers.middleware import CallNext, Handled, Middleware
from headrace.handlers.outcomes import Outcome, Park, Raised, Returned, Stopped, StopReason
from headrace.handlers.registry import Registry, load_registry
from headrace.handlers.resources import Resources
from headrace.handlers.runner import Attempt
from headrace.handlers.task_type import TaskType, handler
from headrace.handlers.watching import LoopWatch

__all__ = [
    "NO_HEADERS",
    "Attempt",
    "Backoff",
    "CallNext",
    "CancelSignal",
    "ChildEnd",
    "Context",
    "DuplicateFunction",
    "DuplicateType",
    "EndStatus",
    "Ended",
    "EntryPointBroken",
    "Fatal",
    "Function",
    "FurtherTask",
    "Handled",
    "HandlerError",
    "Host",
    "Lifespan",
    "LifespanFailed",
    "Limit",
    "LoopWatch",
    "Middleware",
    "Outcome",
    "Park",
    "PayloadInvalid",
    "ProcessDied",
    "Raised",
    "RegistrationError",
    "Registry",
    "RemoteTraceback",
    "Resources",
    "Returned",
    "StopReason",
    "Stopped",
    "SubmitFailed",
    "TaskType",
    "function",
    "guard_forks",
    "handler",
    "leave_within",
    "load_functions",
    "load_lifespans",
    "load_middleware",
    "load_registry",
    "own_task",
    "run",
    "run_attempt",
    "traceback_of",
]

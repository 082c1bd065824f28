"""Every error of the handlers' package, in one tree.

HandlerError
├── RegistrationError        a task type is declared wrongly; said when its module is imported
│   ├── DuplicateType        two task types carry the same name
│   ├── DuplicateFunction    two functions carry the same name
│   └── EntryPointBroken     an entry point of an installed package is unusable
├── LifespanFailed           a lifespan of an installed package raised an error as it was entered
├── PayloadInvalid           the payload does not fit the task type's model
├── SubmitFailed             the queue did not take the task that a handler submits
├── ProcessDied              the child process that ran the handler crashed
└── Fatal                    raised by a handler: this task fails now, whatever retries remain
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class HandlerError(Exception):
    """The base of all errors between a task and its handler."""


class RegistrationError(HandlerError):
    """A task type is declared wrongly: the message says how to correct it."""


class DuplicateType(RegistrationError):
    """Two task types have the same name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(
            f"the task type {name!r} is registered twice, by {first} and by {second}: "
            "rename one of them, or remove one of the two packages"
        )
        self.name = name


class DuplicateFunction(RegistrationError):
    """Two functions have the same name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(
            f"the function {name!r} is registered twice, by {first} and by {second}: "
            "rename one of them, or remove one of the two packages"
        )
        self.name = name


class EntryPointBroken(RegistrationError):
    """An entry point of one of Headrace's groups cannot be used."""

    def __init__(self, entry_point: str, reason: str) -> None:
        super().__init__(
            f"the entry point {entry_point} cannot be used: {reason}. "
            "Repair or uninstall that package"
        )
        self.entry_point = entry_point


class LifespanFailed(HandlerError):
    """A lifespan raised an error as it was entered: no handler can run without it."""


class PayloadInvalid(HandlerError):
    """The payload does not fit the task type's model.

    `errors` is pydantic's list: each with `type`, `loc` and `msg`, never the input itself.
    """

    def __init__(self, task_type: str, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__(
            f"the payload does not fit the task type {task_type!r}: "
            + "; ".join(_sentence(error) for error in errors)
        )
        self.task_type = task_type
        self.errors = list(errors)


class SubmitFailed(HandlerError):
    """The queue did not take the task that a handler submits: it is full, or cannot be reached."""


class ProcessDied(HandlerError):
    """The child process that ran the handler ended before the handler did, or never started."""


class RemoteTraceback(Exception):
    """Stands for an error that a handler raised in a child process: its text is the traceback."""


class Fatal(HandlerError):
    """Raised by a handler if a retry would not help: the task fails at once.

    `problem` may hold the error as a JSON document, for the task's parent (`ChildEnd.problem`).
    """

    def __init__(self, *args: object, problem: bytes | None = None) -> None:
        super().__init__(*args)
        self.problem = problem


def _sentence(error: dict[str, Any]) -> str:
    """One of pydantic's errors as text: `variables.city: Field required`."""
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])

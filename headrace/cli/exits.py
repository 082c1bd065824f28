"""The exit statuses of the commands that speak to Headrace, and what is said of an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

import typer

from headrace.cli.text import printable

if TYPE_CHECKING:
    from headrace.client.errors import HeadraceError


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    KEY = 4
    STATE = 5
    AWAY = 6
    FAILED = 7
    CANCELLED = 8
    TIMEOUT = 9


_OF_STATUS = {
    401: Exit.KEY,
    403: Exit.KEY,
    404: Exit.NOT_FOUND,
    409: Exit.STATE,
    422: Exit.USAGE,
    501: Exit.NOT_FOUND,
    503: Exit.AWAY,
}
"""By the HTTP status of a problem. 422: a value that was typed; 501: a task type."""


def fail(exit_status: Exit, sentence: str, advice: str = "") -> NoReturn:
    """Say on stderr what is wrong and what to do, and end."""
    complain(sentence, advice)
    raise typer.Exit(exit_status)


def complain(sentence: str, advice: str = "") -> None:
    """Say on stderr what is wrong and what to do."""
    typer.echo(f"error: {printable(sentence)}", err=True)
    if advice:
        typer.echo(f"       {advice}", err=True)


@contextmanager
def errors_ended() -> Iterator[None]:
    """End with the exit status of whatever the client raises, after a sentence on stderr."""
    from headrace.client.errors import HeadraceError

    try:
        yield
    except HeadraceError as error:
        raise typer.Exit(report(error)) from None
    except ValueError as error:  # an option that the client itself refuses
        fail(Exit.USAGE, str(error))


def report(error: HeadraceError) -> Exit:
    """Say what went wrong and what to do; the exit status for it."""
    from headrace.client import errors

    complain(_sentence(error), _advice(error))
    match error:
        case errors.TaskFailed():
            return Exit.FAILED
        case errors.TaskCancelled():
            return Exit.CANCELLED
        case errors.ResultHidden():
            return Exit.KEY
        case errors.WaitTimeout():
            return Exit.TIMEOUT
        case errors.ConfigInvalid():
            return Exit.USAGE
        case errors.ApiError():
            return _OF_STATUS.get(error.problem.status, Exit.ERROR)
        case errors.Unavailable():
            return Exit.AWAY
    return Exit.ERROR


def _sentence(error: HeadraceError) -> str:
    from headrace.client import errors

    if isinstance(error, errors.TaskRunning):
        return f"task {error.member('task_id')} is running"
    return str(error)


def _advice(error: HeadraceError) -> str:
    """What to do, as far as the error's own text does not say it."""
    from headrace.client import errors

    match error:
        case errors.Unauthorized():
            return (
                "set HEADRACE_API_KEY, or store the key: `headrace config set --api-key-file FILE`"
            )
        case errors.Forbidden():
            return "take a key of such a role: HEADRACE_API_KEY, or --profile"
        case errors.TaskNotFound():
            return "`headrace ls` shows the tasks that there are"
        case errors.WorkflowNotFound():
            return "`headrace workflow ls` shows the workflows that there are"
        case errors.WorkerNotFound():
            return "`headrace workers` shows the workers that live"
        case errors.BulkNotFound():
            return "`headrace bulk ls` shows the bulk operations that there are"
        case errors.TaskRunning():
            return "add --running to ask its handler to stop"
        case errors.NotAllowed():
            return "`headrace show ID` shows its state"
        case errors.QueueUnavailable():
            return "look whether Redis runs: `headrace doctor`"
        case errors.ApiError():
            return ""
        case errors.Unavailable():
            return "start it (`headrace dev`, `headrace api`), or set HEADRACE_URL or --profile"
        case errors.TaskFailed():
            return f"`headrace show {error.task.task_id}` shows its attempts"
    return ""

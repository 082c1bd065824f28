"""Describes an error that a handler raised. Never raises, whatever the error does.

An error holds code of its author: its `__str__` may raise anything, SystemExit and CancelledError
included, and groups may be nested deeper than Python's stack.
"""

from __future__ import annotations

from collections.abc import Iterator

from headrace.handlers.errors import Fatal, RemoteTraceback
from headrace.limits import MAX_PROBLEM_BYTES, MAX_RAISED_CHARACTERS
from headrace.logs.exceptions import format_exception


def describe(error: BaseException) -> str:
    """Type and message of an error; the message alone of a `Fatal`; of a group, all it holds."""
    text, separator = "", ""
    for part in _parts(error):
        text += separator + _describe_alone(part)
        if len(text) >= MAX_RAISED_CHARACTERS:
            break
        separator = ": " if _is_group(part) else "; "
    return storable(text)


def traceback_of(error: BaseException) -> str:
    """Where an error was raised, as text; of one from a child process, what that process saw."""
    return str(error) if isinstance(error, RemoteTraceback) else format_exception(error)


def type_name(error: BaseException) -> str:
    """The class of an error, with its module unless it is Python's own."""
    kind = type(error)
    try:
        module = kind.__module__
        return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    except BaseException:  # its class may have a class of its author's
        return str(type.__getattribute__(kind, "__name__"))


def problem_of(error: BaseException) -> bytes | None:
    """The error as a JSON document, if its attribute `problem` holds one."""
    try:
        problem = getattr(error, "problem", None)
    except BaseException:  # it may be a property of its author's
        return None
    return problem if type(problem) is bytes and len(problem) <= MAX_PROBLEM_BYTES else None


def holds_fatal(error: BaseException) -> bool:
    """Whether it is a `Fatal`, or a group that holds one."""
    return any(issubclass(type(part), Fatal) for part in _parts(error))


def storable(text: str) -> str:
    """As much of a text as a record keeps, in characters that UTF-8 has."""
    return text[:MAX_RAISED_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def _parts(error: BaseException) -> Iterator[BaseException]:
    """The error, and of a group all that it holds, in the order of reading; each once."""
    left, seen = [error], set()
    while left:
        part = left.pop()
        if id(part) in seen:  # a group may hold another one twice, and that one another twice
            continue
        seen.add(id(part))
        yield part
        if _is_group(part):
            # The group's own field: a subclass may have put code in its place.
            left.extend(reversed(BaseExceptionGroup.exceptions.__get__(part)))


def _is_group(error: BaseException) -> bool:
    return issubclass(type(error), BaseExceptionGroup)


def _describe_alone(error: BaseException) -> str:
    name = type(error).__name__
    try:
        message = str(error)[:MAX_RAISED_CHARACTERS]
    except BaseException as broken:
        return f"{name}: (its message cannot be read: {type(broken).__name__})"
    if message and type(error) is Fatal:
        return message
    return f"{name}: {message}" if message else name

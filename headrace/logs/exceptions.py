"""Tracebacks for log lines. An error's own code runs as it is printed, and may raise anything."""

from __future__ import annotations

import traceback

MAX_ERRORS = 1_000
"""Of what holds more errors, as causes or in groups, only the places are printed. Python prints an
error as often as it is held: groups of two that hold the next one twice take for ever."""
MAX_CHARACTERS = 65_536
"""Of a longer traceback the beginning and the end are kept: a group may hold thousands."""


def format_exception(error: BaseException) -> str:
    """The traceback as text; where it cannot be printed, the places alone. Never raises."""
    try:
        if _holds_too_many(error):
            text = _without_message(error, f"it holds more than {MAX_ERRORS} others")
        else:
            text = "".join(traceback.format_exception(error)).rstrip()
    except BaseException as broken:
        text = _without_message(error, f"{type(broken).__name__} while its traceback was made")
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    return text


def _holds_too_many(error: BaseException) -> bool:
    left: list[BaseException] = [error]
    for _ in range(MAX_ERRORS):
        if not left:
            return False
        part = left.pop()
        # As Python prints it: what was being handled counts only where no cause is named.
        if part.__cause__ is not None:
            left.append(part.__cause__)
        elif part.__context__ is not None and not part.__suppress_context__:
            left.append(part.__context__)
        if isinstance(part, BaseExceptionGroup):
            left += part.exceptions
    return bool(left)


def _without_message(error: BaseException, why: str) -> str:
    places = "".join(traceback.format_tb(error.__traceback__))
    return f"{places}{type(error).__name__}: (it cannot be printed: {why})"

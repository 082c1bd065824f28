"""Tracebacks for log lines. An error's own code runs as it is printed, and may raise anything."""

from __future__ import annotations

import traceback

MAX_CHARACTERS = 65_536
"""Of a longer traceback the beginning and the end are kept: a group may hold thousands."""


def format_exception(error: BaseException) -> str:
    """The traceback as text; where it cannot be printed, the places alone. Never raises."""
    try:
        text = "".join(traceback.format_exception(error)).rstrip()
    except BaseException as broken:
        places = "".join(traceback.format_tb(error.__traceback__))
        text = (
            f"{places}{type(error).__name__}: "
            f"(it cannot be printed: {type(broken).__name__} while its traceback was made)"
        )
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    return text

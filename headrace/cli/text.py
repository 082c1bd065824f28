"""Texts that a terminal may be sent."""

from __future__ import annotations

import re

_control = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """A text without control characters, which could do things to a terminal."""
    return _control.sub(lambda found: f"\\x{ord(found[0]):02x}", text)

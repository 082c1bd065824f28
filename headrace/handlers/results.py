"""Turns what a handler returned into JSON. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic_core import to_json

_N, _I = b"NI"


def encode_result(value: Any) -> bytes:
    """The value as a JSON document.

    Raises what pydantic raises for a value that it cannot write (and whatever a model's own code
    raises), and ValueError for a number that JSON does not have. The message names its place. A
    pydantic model writes null for such a number, unless its own settings say otherwise.
    """
    encoded = to_json(value)  # writes NaN and Infinity as they are
    # Also true of a text that holds one of these words: then nothing is found below. One byte is
    # found at a tenth of the cost, so it is looked for first.
    if (_N in encoded and b"NaN" in encoded) or (_I in encoded and b"Infinity" in encoded):
        place = _first_not_finite(json.loads(encoded))
        if place is not None:
            pointer, number = place
            raise ValueError(
                f"{pointer or 'it'} is {number}, and JSON has no such number: return None, a text "
                "or a finite number in its place"
            )
    return encoded


def _first_not_finite(document: Any) -> tuple[str, str] | None:
    """The JSON pointer (RFC 6901) to the first NaN or infinity in a document, and its name."""
    left: list[tuple[str, Any]] = [("", document)]
    while left:
        pointer, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return pointer, json.dumps(value)
        if isinstance(value, dict):
            steps = [(_escaped(key), item) for key, item in value.items()]
        elif isinstance(value, list):
            steps = [(str(index), item) for index, item in enumerate(value)]
        else:
            continue
        left.extend((f"{pointer}/{step}", item) for step, item in reversed(steps))
    return None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")

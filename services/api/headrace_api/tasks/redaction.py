"""Takes secrets out of payloads and states before they are shown. Pure."""

from __future__ import annotations

import re
from typing import Any

REDACTED = "[redacted]"

_is_secret = re.compile(
    r"passw|pwd|secret|token|api[_-]?key|authorization|cookie|credential|private[_-]?key",
    re.IGNORECASE,
).search


def redacted(value: Any) -> Any:
    """The same without the values of fields whose names tell of a secret."""
    if isinstance(value, dict):
        return {
            name: REDACTED if _is_secret(name) and field is not None else redacted(field)
            for name, field in value.items()
        }
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value

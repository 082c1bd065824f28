"""Keeps secrets out of what is shown: finds their values, also encoded, and puts a word instead."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
MIN_LENGTH = 6
"""Characters of a secret, at least: a shorter one would be found in what has nothing to do with it,
and it can be guessed."""


class Redactor:
    """Replaces secret values: as they are, in base 64, in a URL, and with JSON's escapes."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._bytes: re.Pattern[bytes] | None = None
        self.add(values)

    def __bool__(self) -> bool:
        """Whether there is anything to hide."""
        return self._pattern is not None

    def add(self, values: Iterable[str]) -> None:
        """Hide these values, too."""
        every = self._values.union(values)
        if every == self._values:
            return
        forms = {form for value in every for form in _forms(value)}
        # The longest first: of two that begin alike, the whole one is replaced.
        source = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        self._pattern, self._bytes = re.compile(source), re.compile(source.encode())
        self._values = every

    def text(self, text: str) -> str:
        """The text without the values."""
        return text if self._pattern is None else self._pattern.sub(REDACTED, text)

    def line(self, line: bytes) -> bytes:
        """The same for a line of UTF-8."""
        return line if self._bytes is None else self._bytes.sub(REDACTED.encode(), line)

    def data(self, data: Any) -> Any:
        """JSON data without the values; the same object where there is nothing to hide."""
        if self._pattern is None:
            return data
        if isinstance(data, str):
            return self._pattern.sub(REDACTED, data)
        if isinstance(data, dict):
            return {self.text(key): self.data(value) for key, value in data.items()}
        if isinstance(data, list):
            return [self.data(item) for item in data]
        if isinstance(data, int | float) and self._pattern.search(str(data)):
            return REDACTED
        return data


def _forms(value: str) -> Iterator[str]:
    yield value
    yield from (quote(value, safe=""), quote(value), quote_plus(value))
    for ascii_only in (True, False):
        escaped = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        # Twice: JSON in a text that is then written as JSON, as a log line is.
        yield from (escaped, json.dumps(escaped, ensure_ascii=ascii_only)[1:-1])
    # What stands around a value in base 64, such as a user's name, moves its bits.
    raw = value.encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        inside = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        yield inside
        yield inside.replace("+", "-").replace("/", "_")


hidden = Redactor()
"""The values that no log line of this process may have."""

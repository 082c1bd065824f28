"""A definition's text as plain data, in which every value knows its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.workflows.errors import DefinitionError

MAX_SOURCE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Source:
    """A definition's data and the place of each value in it, by JSON pointer.

    A place is a line and a column, both from 1; of a mapping's value it is its key's.
    """

    file: str
    data: Any
    places: dict[str, tuple[int, int]]


def pointer(parent: str, key: str | int) -> str:
    """The JSON pointer (RFC 6901) of `key` below `parent`."""
    return f"{parent}/{str(key).replace('~', '~0').replace('/', '~1')}"


def too_large(file: str, size: int) -> DefinitionError:
    """The error for a file of `size` bytes, which is too many."""
    reason = f"the file has {size} bytes, the limit is {MAX_SOURCE_BYTES}"
    return DefinitionError(file, None, None, reason)

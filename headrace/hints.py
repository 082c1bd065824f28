"""Which name somebody meant who wrote another one."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LENGTH = 128
"""A longer word is compared with nothing: the price grows with its square."""
MAX_NAMES = 1_000
"""So many names are compared with a word, some microseconds each."""


def closest(word: str, names: Iterable[str]) -> str | None:
    """The name that is nearly this word; None: there is no such name."""
    if len(word) > MAX_LENGTH:
        return None
    found = get_close_matches(word, list(islice(names, MAX_NAMES)), n=1, cutoff=0.7)
    return found[0] if found else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """A question to stand after a full sentence, or nothing."""
    found = closest(word, names)
    return "" if found is None else f". Did you mean {found!r}?"

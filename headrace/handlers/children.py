"""Children: the tasks that a task submits and waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

EndStatus = Literal["completed", "failed", "cancelled"]


class ChildEnd(msgspec.Struct, frozen=True):
    """How a child ended: what `Context.child` returns."""

    status: EndStatus
    result: bytes | None = None
    """What its handler returned, as JSON."""
    error: str | None = None
    """Class and message, as in its record."""
    problem: bytes | None = None
    """The error as a JSON document: what a failed workflow run has."""


class _Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the end of a child puts into its parent's inbox. See tell_parent in lib/family.lua."""

    child: str
    status: EndStatus


_decode = msgspec.json.Decoder(_Item).decode


def ended_children(inbox: Iterable[bytes]) -> list[str]:
    """The ids of the children that the items of an inbox say have ended.

    Whoever may wake a task can put the same item there, so look at each by `Context.child`.
    """
    ended = []
    for item in inbox:
        try:
            ended.append(_decode(item).child)
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
    return ended

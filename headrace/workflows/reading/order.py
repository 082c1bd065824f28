"""The order of a list's steps: that each `then` leads somewhere, and that a run can reach each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.hints import did_you_mean
from headrace.workflows.reading.cursor import Cursor

DIRECTIVES = ("continue", "exit", "end")


@dataclass(slots=True)
class Place:
    """A step's place in its list, and where a run may go on from there.

    `thens` are all that the step says about it: its own `then`, and those of its cases. `passes`:
    whether the next step may follow without being named.
    """

    item: Cursor
    names: tuple[str, ...] = ()
    thens: list[Cursor] = field(default_factory=list)
    passes: bool = True


def check_targets(places: Sequence[Place]) -> bool:
    """Note each `then` that names no step of the list; whether there is none."""
    named = {name for place in places for name in place.names}
    lost = [
        then
        for place in places
        for then in place.thens
        if then.value not in named and then.value not in DIRECTIVES
    ]
    for then in lost:
        then.note(
            f"`then` names {then.value!r}, and no task of this list has that name"
            f"{did_you_mean(then.value, (*named, *DIRECTIVES))}"
        )
    return not lost


def check_reached(places: Sequence[Place]) -> None:
    """Note the steps that no run can reach; of several in a row, the first."""
    indexes = {name: index for index, place in enumerate(places) for name in place.names}
    reached: set[int] = set()
    ahead = [0]
    while ahead:
        index = ahead.pop()
        if index in reached or index >= len(places):
            continue
        reached.add(index)
        targets = {then.value for then in places[index].thens}
        if places[index].passes or "continue" in targets:
            ahead.append(index + 1)
        ahead += [indexes[target] for target in targets if target in indexes]
    for index in range(1, len(places)):
        if index not in reached and index - 1 in reached:
            (name,), (before,) = places[index].names, places[index - 1].names
            places[index].item.child(name).inside(name).note(
                f"no run comes here: {before!r} goes on elsewhere, and no `then` that is reached "
                f"names {name!r}"
            )

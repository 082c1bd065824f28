"""From samples to figures, ratios and targets, and how they are shown. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Samples = Mapping[str, Sequence[float]]
"""By figure: one sample of each round, in the order of the rounds."""


@dataclass(frozen=True)
class Figure:
    """Something measured once a round."""

    name: str
    unit: str
    title: str
    beside_floors: bool = False
    """Whether its ratios to the floors are shown."""


@dataclass(frozen=True)
class Ratio:
    """One figure divided by another, round by round."""

    figure: str
    floor: str


@dataclass(frozen=True)
class Target:
    """A bound that a figure, or a ratio of two, is to keep."""

    of: str | Ratio
    limit: float
    bound: Literal["at least", "at most"]
    title: str

    def met(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value >= self.limit if self.bound == "at least" else value <= self.limit


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many percent of them do not exceed.

    Raises ValueError when there are no samples.
    """
    if not samples:
        raise ValueError("there are no samples")
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples)[max(rank, 1) - 1]


def ratio(samples: Samples, of: Ratio) -> float | None:
    """The median of the rounds' ratios; None if one of the figures was not measured.

    Both samples of a round were taken within seconds, so what slows the machine for longer cancels
    out; a quotient of two medians would not have that.
    """
    above, below = samples.get(of.figure), samples.get(of.floor)
    if not above or not below:
        return None
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def value(samples: Samples, target: Target) -> float | None:
    """What a target is about, as measured; None if it was not."""
    if isinstance(target.of, Ratio):
        return ratio(samples, target.of)
    found = samples.get(target.of)
    return statistics.median(found) if found else None


def rounded(number: float) -> str:
    """Three digits that mean something, thousands marked: 12,300 · 1.23 · 0.0123."""
    if number == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(number)))
    return f"{round(number, digits):,.{max(digits, 0)}f}"


def figures_table(figures: Sequence[Figure], samples: Samples, floors: Mapping[str, str]) -> str:
    """Each figure's median and spread, and the ratios to the floors where they say something."""
    rows = [
        ["figure", "unit", "median", "low", "high", *(f"× {title}" for title in floors.values())]
    ]
    for figure in figures:
        found = samples.get(figure.name)
        if not found:
            continue
        row = [figure.title, figure.unit]
        row += [rounded(number) for number in (statistics.median(found), min(found), max(found))]
        for floor in floors:
            of_floor = ratio(samples, Ratio(figure.name, floor)) if figure.beside_floors else None
            row.append("" if of_floor is None else f"{of_floor:.2f}")
        rows.append(row)
    return aligned(rows)


def targets_table(targets: Sequence[Target], samples: Samples) -> str:
    """Each target, what was measured, and whether it was met."""
    rows = [["target", "bound", "measured", ""]]
    for target in targets:
        measured = value(samples, target)
        if measured is not None:
            bound = f"{target.bound} {target.limit:g}"
            verdict = "met" if target.met(measured) else "MISSED"
            rows.append([target.title, bound, rounded(measured), verdict])
    return aligned(rows)


def report(
    figures: Sequence[Figure], targets: Sequence[Target], samples: Samples
) -> dict[str, Any]:
    """Everything for the JSON file."""
    return {
        "figures": {
            figure.name: {
                "title": figure.title,
                "unit": figure.unit,
                "median": statistics.median(samples[figure.name]),
                "samples": list(samples[figure.name]),
            }
            for figure in figures
            if samples.get(figure.name)
        },
        "targets": [
            {
                "title": target.title,
                "bound": target.bound,
                "limit": target.limit,
                "measured": measured,
                "met": target.met(measured),
            }
            for target in targets
            if (measured := value(samples, target)) is not None
        ],
    }


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join((first, *others)).rstrip())
    return "\n".join(lines)

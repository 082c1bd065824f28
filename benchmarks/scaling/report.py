"""Tables and verdicts from the figures. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.scaling.outcome import TARGET_SECONDS, Outcome
from benchmarks.scaling.play import OURS, TUNED, Through

Results = Mapping[str, Mapping[str, Outcome]]
"""By load, by scaler."""


def better(outcome: Outcome, other: Outcome) -> bool:
    """Whether one is better in both p95 wait and replica-seconds."""
    return outcome.p95 < other.p95 and outcome.cost < other.cost


def better_peers(results: Results) -> dict[str, list[str]]:
    """By load, the peers that are better than ours in both."""
    return {
        load: [name for name, outcome in of.items() if name != OURS and better(outcome, of[OURS])]
        for load, of in results.items()
    }


def beats_tuned(results: Results) -> dict[str, bool]:
    """By load, whether ours is better than tuned KEDA in both."""
    return {load: better(of[OURS], of[TUNED]) for load, of in results.items()}


def table(results: Results) -> str:
    """The figures as a Markdown table."""
    rows = [
        [
            "load",
            "scaler",
            "p50 s",
            "p95 s",
            "p99 s",
            f"over {TARGET_SECONDS:g} s",
            "cost",
            "reversals/h",
            "SIGTERM busy",
            "interrupted",
        ]
    ]
    for load, of in results.items():
        for number, (name, outcome) in enumerate(of.items()):
            rows.append(
                [
                    load if number == 0 else "",
                    name,
                    f"{outcome.p50:.1f}",
                    f"{outcome.p95:.1f}",
                    f"{outcome.p99:.1f}",
                    f"{outcome.over_target:.1%}",
                    f"{outcome.cost:.2f}",
                    f"{outcome.reversals_per_hour:.0f}",
                    str(outcome.terminated_busy),
                    str(outcome.interrupted),
                ]
            )
    return _markdown(rows, left=2)


def outage_table(outages: Mapping[str, Through]) -> str:
    """What each does through the outage, as a Markdown table."""
    rows = [["scaler", "workers before", "least after", "SIGTERM busy", "interrupted"]]
    rows += [
        [
            name,
            str(outage.before),
            str(outage.least),
            str(outage.terminated_busy),
            str(outage.interrupted),
        ]
        for name, outage in outages.items()
    ]
    return _markdown(rows, left=1)


def verdicts(results: Results) -> list[str]:
    """What the figures say, in sentences."""
    ahead = {load: names for load, names in better_peers(results).items() if names}
    won = [load for load, beaten in beats_tuned(results).items() if beaten]
    lost = [load for load in results if load not in won]
    interrupted = sum(of[OURS].interrupted for of in results.values())
    return [
        "no peer is better in both p95 wait and replica-seconds on any load"
        if not ahead
        else "better in both: "
        + "; ".join(f"{', '.join(names)} on {load}" for load, names in ahead.items()),
        f"better than {TUNED} in both on {len(won)} of {len(results)} loads"
        + (f", not on {', '.join(lost)}" if lost else ""),
        f"{interrupted} tasks interrupted by {OURS}",
    ]


def as_json(results: Results, outages: Mapping[str, Through], seeds: Sequence[int]) -> Any:
    """All of it, for `--json`."""
    return {
        "seeds": list(seeds),
        "target_seconds": TARGET_SECONDS,
        "loads": {
            load: {name: asdict(outcome) for name, outcome in of.items()}
            for load, of in results.items()
        },
        "outage": {name: asdict(outage) for name, outage in outages.items()},
        "verdicts": verdicts(results),
    }


def _markdown(rows: Sequence[Sequence[str]], left: int) -> str:
    """`left`: so many columns are text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = "|".join(
        "-" * (width + 2) if column < left else "-" * (width + 1) + ":"
        for column, width in enumerate(widths)
    )
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])

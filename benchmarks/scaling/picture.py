"""One picture of the figures: a field for each load, p95 wait over cost. For light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks.scaling.outcome import Outcome
from benchmarks.scaling.play import OURS

WIDTH, HEIGHT, COLUMNS = 230, 190, 4
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 30, 30
COSTS = (1, 2, 5, 10)
WAITS = (1, 10, 100, 1000)
COST_RANGE = (1.0, 14.0)
WAIT_RANGE = (1.0, 1000.0)

STYLE = """
text { font: 11px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 12px }
.quiet { fill: #656d76; font-size: 10px }
.frame { fill: none; stroke: #d0d7de }
.line { stroke: #d8dee4; stroke-width: 0.7 }
.peer { stroke: #24292f; stroke-width: 0.6 }
.ours { fill: #0969da; stroke: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet { fill: #9198a1 } .frame { stroke: #3d444d }
  .line { stroke: #30363d } .peer { stroke: #e6edf3 } .ours { fill: #4493f8; stroke: #4493f8 }
}
""".strip()

COLOURS = ("#d1242f", "#e16f24", "#bf8700", "#8250df", "#1a7f37", "#bf3989")


def picture(results: Mapping[str, Mapping[str, Outcome]]) -> str:
    """The SVG's text."""
    fields = len(results) + 1
    rows = math.ceil(fields / COLUMNS)
    parts = [
        _field(load, of, WIDTH * (number % COLUMNS), HEIGHT * (number // COLUMNS))
        for number, (load, of) in enumerate(results.items())
    ]
    names = list(next(iter(results.values())))
    place = len(results)
    parts.append(_legend(names, WIDTH * (place % COLUMNS), HEIGHT * (place // COLUMNS)))
    width, height = WIDTH * COLUMNS, HEIGHT * rows
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
            ' aria-label="95th percentile of the wait over replica-seconds, by load and scaler">',
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>",
            "",
        ]
    )


def _field(load: str, of: Mapping[str, Outcome], x: int, y: int) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [f'<g transform="translate({x} {y})">']
    parts.append(f'<text class="title" x="{LEFT}" y="{TOP - 8}">{load}</text>')
    for cost in COSTS:
        at = _across(cost)
        parts.append(f'<path class="line" d="M{at:.1f} {TOP}V{bottom}"/>')
        parts.append(_text(at, bottom + 12, f"×{cost}", "middle"))
    for wait in WAITS:
        at = _up(wait)
        parts.append(f'<path class="line" d="M{LEFT} {at:.1f}H{right}"/>')
        parts.append(_text(LEFT - 4, at + 3, f"{wait} s" if wait > 1 else "≤ 1 s", "end"))
    parts.append(
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>'
    )
    for number, (name, outcome) in reversed(list(enumerate(of.items()))):
        parts.append(_mark(name, number, _across(outcome.cost), _up(outcome.p95), outcome))
    parts.append("</g>")
    return "\n".join(parts)


def _legend(names: list[str], x: int, y: int) -> str:
    parts = [f'<g transform="translate({x} {y})">']
    for number, name in enumerate(names):
        line = TOP + 6 + number * 17
        parts.append(_mark(name, number, LEFT, line, None))
        parts.append(f'<text x="{LEFT + 12}" y="{line + 4}">{name}</text>')
    below = TOP + 10 + len(names) * 17
    parts.append(_text(LEFT - 8, below, "up: p95 wait; right: replica-seconds ÷"))
    parts.append(_text(LEFT - 8, below + 13, "the oracle's. Down and left is better."))
    parts.append("</g>")
    return "\n".join(parts)


def _mark(name: str, number: int, x: float, y: float, outcome: Outcome | None) -> str:
    title = f"<title>{name}: {outcome.p95:.1f} s, ×{outcome.cost:.2f}</title>" if outcome else ""
    if name == OURS:
        return f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="6">{title}</circle>'
    colour = COLOURS[(number - 1) % len(COLOURS)]
    return (
        f'<circle class="peer" cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}">{title}</circle>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="quiet" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _across(cost: float) -> float:
    return LEFT + _share(cost, COST_RANGE) * (WIDTH - RIGHT - LEFT)


def _up(wait: float) -> float:
    return HEIGHT - BOTTOM - _share(wait, WAIT_RANGE) * (HEIGHT - BOTTOM - TOP)


def _share(value: float, within: tuple[float, float]) -> float:
    """Where a value lies in a range on a logarithmic scale: 0 to 1."""
    low, high = within
    share = math.log(max(value, low) / low) / math.log(high / low)
    return min(share, 1.0)

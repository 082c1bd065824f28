"""`make help` tells of every target there is, and each Python has an environment of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import absent

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _make() -> None:
    if shutil.which("make") is None:
        absent("make is not on PATH")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, check=False, capture_output=True, text=True, timeout=30
    )


def test_help_explains_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert {"dev", "test", "check"} <= targets
    explained = dict(re.findall(r"^ +make (\S+) +(\S.*)$", make("help").stdout, re.MULTILINE))
    assert set(explained) == targets


def test_another_python_has_an_environment_of_its_own() -> None:
    version = "{}.{}".format(*sys.version_info)
    asked = make("--dry-run", "test", f"PYTHON={sys.executable}").stdout
    assert f".venv-{version}/bin/python -m pytest" in asked
    assert ".venv/bin/python -m pytest" in make("--dry-run", "test").stdout


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_what_is_no_new_enough_python_is_refused_in_a_sentence(python: str, tmp_path: Path) -> None:
    done = make("venv", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert f"Headrace needs Python 3.11 or newer, and {python} is none" in done.stderr
    assert not (tmp_path / "venv").exists()

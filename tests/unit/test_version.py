"""The version is the same wherever it stands, and one command finds and changes it everywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import __version__

ROOT = Path(__file__).parents[2]
TOOL = "tools/version.py"
TIMES = {
    "pyproject.toml": 1,
    "headrace/__init__.py": 1,
    "services/api/Dockerfile": 1,
    "services/worker/Dockerfile": 1,
    "controller/Dockerfile": 1,
    "charts/headrace/Chart.yaml": 2,
    "docs/images.md": 1,
    "CHANGELOG.md": 1,
}
"""File → how often it names the version."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that name the version, and of the tool."""
    for file in (*TIMES, TOOL):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def texts(checkout: Path) -> dict[str, str]:
    return {file: (checkout / file).read_text("utf-8") for file in TIMES}


def run(root: Path, *arguments: str) -> tuple[int, str]:
    """The tool's exit status, and what it says."""
    done = subprocess.run(
        [sys.executable, root / TOOL, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_every_place_names_the_version_of_the_code() -> None:
    assert run(ROOT) == (0, f"{__version__}\n")


@pytest.mark.parametrize("file", TIMES)
def test_a_place_that_differs_is_named(file: str, checkout: Path) -> None:
    place = checkout / file
    place.write_text(place.read_text("utf-8").replace(__version__, "9.9.9", 1), "utf-8")
    status, said = run(checkout)
    assert status == 1
    assert f"{file}: 9.9.9" in said


def test_a_place_that_has_gone_is_named(checkout: Path) -> None:
    (checkout / "docs/images.md").write_text("", "utf-8")
    status, said = run(checkout)
    assert status == 1
    assert "docs/images.md: none" in said


def test_a_new_version_is_written_into_every_place_and_nowhere_else(checkout: Path) -> None:
    before = texts(checkout)
    assert run(checkout, "9.8.7") == (0, "9.8.7\n")
    assert {file: text.count("9.8.7") for file, text in texts(checkout).items()} == TIMES
    assert run(checkout, __version__) == (0, f"{__version__}\n")
    assert texts(checkout) == before


@pytest.mark.parametrize("text", ["9", "v1.2.3", "1.2", "1.2.3rc1", "latest"])
def test_what_is_no_version_is_refused_and_nothing_is_written(text: str, checkout: Path) -> None:
    before = texts(checkout)
    status, said = run(checkout, text)
    assert (status, texts(checkout)) == (1, before)
    assert "is not a version" in said

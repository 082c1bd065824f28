"""What is published: the wheel's content, and that the pinned files fit pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")


def pinned(name: str) -> dict[str, str]:
    """The names and versions that a requirements file pins."""
    lines = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lines, re.MULTILINE))


def test_the_wheel_holds_library_api_and_worker_with_the_scripts(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=50,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert "headrace/py.typed" in names
    info = f"headrace-{PROJECT['project']['version']}.dist-info"
    assert tops == {"headrace", "headrace_api", "headrace_worker", info}
    scripts = {path.name for path in (ROOT / "headrace/taskqueue/scripts").rglob("*.lua")}
    assert scripts
    assert {Path(name).name for name in names if name.endswith(".lua")} == scripts
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert {entry.partition("==")[0] for entry in entries} == set(pinned(name))
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_pins_name_no_address_and_no_path(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--index-url|--find-links|(^|\s)/[a-z]", text)


def test_what_pyproject_asks_for_is_pinned() -> None:
    project = PROJECT["project"]
    asked = [*project["dependencies"]]
    for extra in ("client", "workflows", "worker", "api", "cli"):
        asked += project["optional-dependencies"][extra]
    found = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0] for requirement in asked} - {"headrace"}
    assert found <= set(pinned("requirements.txt"))


def test_both_files_pin_the_same_versions() -> None:
    assert pinned("requirements.txt").items() <= pinned("requirements-dev.txt").items()

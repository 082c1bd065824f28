"""Environments as `pip install` of built wheels makes them, without the network and the checkout.

What they depend on is taken from the environment that runs the tests: linked, not downloaded.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
OURS = "headrace"


def build_wheel(project: Path, folder: Path) -> Path:
    """Build a project's wheel into a folder; returns its path."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    before = set(folder.glob("*.whl"))
    subprocess.run(
        [*build, "--directory", folder], cwd=project, check=True, capture_output=True, timeout=50
    )
    [wheel] = set(folder.glob("*.whl")) - before
    return wheel


class Environment:
    """A virtual environment that holds what is installed into it, and nothing else."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder)  # without pip: the one of the tests' own environment serves it
        self.programs = folder / "bin"
        self.python = self.programs / "python"
        [self._site] = (folder / "lib").glob("*/site-packages")

    def install(self, wheel: Path, *extras: str) -> None:
        """`pip install "wheel[extras]"`. What it needs, and no more, is put there before."""
        for requirement in _requirements(wheel, extras):
            self.add(requirement)
        wanted = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--no-index"]
        subprocess.run(
            [*pip, "--quiet", "--disable-pip-version-check", wanted], check=True, timeout=50
        )

    def add(self, name: str) -> None:
        """Put a package of the tests' own environment there, with all that it needs."""
        requirement = Requirement(name)
        if requirement.name == OURS:
            return  # its wheel is installed, never the checkout
        found = distribution(requirement.name)
        if self._link(found):
            for needed in _applying(found.requires or [], tuple(requirement.extras)):
                self.add(needed)

    def _link(self, found: Distribution) -> bool:
        """Link its files' topmost folders. False: they are there already."""
        is_new = False
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            link = self._site / top
            if not link.exists():
                link.symlink_to(str(found.locate_file(top)))
                is_new = True
        return is_new


def _requirements(wheel: Path, extras: tuple[str, ...]) -> list[str]:
    """What a wheel asks for, its own extras among them taken apart."""
    [metadata] = Distribution.discover(name=wheel.name.split("-")[0], path=[str(wheel)])
    asked = metadata.requires or []
    found: list[str] = []
    waiting = ["", *extras]
    for extra in waiting:
        for needed in _applying(asked, (extra,)):
            requirement = Requirement(needed)
            if requirement.name == metadata.name:
                waiting += requirement.extras - set(waiting)
            else:
                found.append(needed)
    return found


def _applying(requirements: list[str], extras: tuple[str, ...]) -> list[str]:
    """Those that hold on this machine, with these extras."""
    parsed = [(text, Requirement(text)) for text in requirements]
    return [
        text
        for text, requirement in parsed
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in (extras or ("",)))
    ]

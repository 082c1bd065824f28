"""Other Pythons of this machine, with the pinned requirements in environments that are kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"


def find_python(version: str) -> str | None:
    """The path of a Python of this version ("3.13"), from PATH or pyenv; None: there is none.

    Where pyenv is used, `python3.13` may be a stand-in that works only once a version is chosen.
    """
    for chosen in [None, *_of_pyenv(version)]:
        environment = {**os.environ, **({"PYENV_VERSION": chosen} if chosen else {})}
        path = _output([f"python{version}", "-c", "import sys; print(sys.executable)"], environment)
        if path is not None:
            return path
    return None


def environment_for(python: str) -> str:
    """The Python of a virtual environment of this one that has the requirements.

    Made in the user's cache folder, and found there until the requirements change.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(python.encode() + REQUIREMENTS.read_bytes()).hexdigest()[:16]
    folder = cache / "headrace" / f"python-{key}"
    inside = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [str(inside), *install, "--require-hashes", "-r", str(REQUIREMENTS)], check=True
        )
        (folder / ".ready").touch()
    return str(inside)


def _of_pyenv(version: str) -> list[str]:
    names = _output(["pyenv", "versions", "--bare"], os.environ)
    return [name for name in (names or "").split() if name.startswith(f"{version}.")]


def _output(command: list[str], environment: Mapping[str, str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=30, check=False
    )
    return ended.stdout.strip() if ended.returncode == 0 else None

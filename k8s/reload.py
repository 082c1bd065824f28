"""The inner loop inside a pod: runs a program from a writable copy, and restarts it when a file
of it has changed.

skaffold passes this text to `python -c`; the arguments are those that Python is started with.
"""

# ruff: noqa: INP001 - no package: its text becomes the argument of `python -c`
from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

APP = Path("/tmp/app")
LOOK_SECONDS = 0.5


def copy() -> None:
    """Once for the pod. Without bytecode: the image's is never compared with its source."""
    without = shutil.ignore_patterns("__pycache__")
    if not APP.exists():
        shutil.copytree("/app", APP, ignore=without)
        # The packages are installed beside it, but for the operator, which does without.
        for name in ("headrace", "headrace_api", "headrace_worker"):
            package = importlib.util.find_spec(name)
            if package is not None and package.origin is not None:
                shutil.copytree(Path(package.origin).parent, APP / name, ignore=without)


def stamp() -> list[tuple[str, int]]:
    """What changes when a file does."""
    files = [file for kind in ("*.py", "*.lua") for file in APP.rglob(kind)]
    return sorted((str(file), file.stat().st_mtime_ns) for file in files)


def main(arguments: list[str]) -> None:
    """Run the program, again after every change, until this process is told to end.

    A mistake in a file may end the program: then its correction is waited for.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    copy()
    while True:
        started = stamp()
        process = subprocess.Popen([sys.executable, *arguments], cwd=APP)
        try:
            while stamp() == started:
                time.sleep(LOOK_SECONDS)
        finally:
            process.terminate()
            process.wait()


main(sys.argv[1:])
